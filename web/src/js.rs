//! Helpers for JavaScript values: properties, calls, and the event loop.

use std::cell::RefCell;

use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, AddEventListenerOptions, MessageChannel, MessagePort};

/// A property, or `undefined` if there is none.
pub fn get(object: &JsValue, key: &str) -> JsValue {
    Reflect::get(object, &key.into()).unwrap_or(JsValue::UNDEFINED)
}

/// Sets a property of a plain object.
pub fn set(object: &JsValue, key: &str, value: impl Into<JsValue>) {
    // It fails only for frozen objects and primitives.
    let _ = Reflect::set(object, &key.into(), &value.into());
}

/// Calls a method.
///
/// # Errors
/// What it throws; a `TypeError` if there is no such method.
pub fn call(object: &JsValue, method: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    let function = get(object, method).dyn_into::<Function>();
    let function =
        function.map_err(|_| js_sys::TypeError::new(&format!("this browser has no `{method}`")))?;
    function.apply(object, &arguments.iter().collect())
}

/// Calls a method, and waits for the promise that it returns.
///
/// # Errors
/// What it throws or rejects with.
pub async fn call_async(
    object: &JsValue,
    method: &str,
    arguments: &[JsValue],
) -> Result<JsValue, JsValue> {
    let returned = call(object, method, arguments)?;
    JsFuture::from(Promise::resolve(&returned)).await
}

/// Lets a promise go its way; that it may reject is no news.
pub fn forget(promise: Promise) {
    wasm_bindgen_futures::spawn_local(async move {
        let _ = JsFuture::from(promise).await;
    });
}

/// A property of the global scope, or one of its properties (`["navigator", "storage"]`).
pub fn global(path: &[&str]) -> JsValue {
    let scope: JsValue = js_sys::global().into();
    path.iter().fold(scope, |object, key| get(&object, key))
}

/// A plain object.
pub fn object<const N: usize>(properties: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (key, value) in properties {
        set(&object, key, value);
    }
    object.into()
}

/// Runs `body`. Meanwhile, calls of `method` of all objects of this object's class go to `instead`.
pub fn overriding<R>(
    object: &JsValue,
    method: &str,
    instead: impl Fn(JsValue) -> JsValue + 'static,
    body: impl FnOnce() -> R,
) -> R {
    let class: JsValue = Object::get_prototype_of(object).into();
    let original = get(&class, method);
    let instead = Closure::<dyn Fn(JsValue) -> JsValue>::new(instead);
    set(&class, method, instead.as_ref());
    let result = body();
    set(&class, method, original);
    result
}

/// A time in milliseconds, for intervals.
pub fn now() -> f64 {
    call(&global(&["performance"]), "now", &[])
        .ok()
        .and_then(|now| now.as_f64())
        .unwrap_or_else(js_sys::Date::now)
}

/// Lets the event loop run once, so that messages (an abort) are handled.
///
/// It uses a message port, since browsers stretch timers to 4 ms and more.
pub async fn next_turn() {
    let turn = Promise::new(&mut |resolve, _| {
        PORTS.with(|ports| {
            let ports = &mut *ports.borrow_mut();
            let ports = ports.get_or_insert_with(Ports::open);
            ports.waiting.push(resolve);
            let _ = ports.send.post_message(&JsValue::NULL);
        });
    });
    // The port resolves it; nothing rejects it.
    let _ = JsFuture::from(turn).await;
}

/// Resolves after so many milliseconds.
pub async fn pause(milliseconds: f64) {
    gloo_timers::future::TimeoutFuture::new(milliseconds as u32).await;
}

/// Resolves when the signal aborts; never if there is none.
pub async fn aborted(signal: Option<&AbortSignal>) {
    let Some(signal) = signal else {
        return std::future::pending().await;
    };
    if signal.aborted() {
        return;
    }
    let heard = Promise::new(&mut |resolve, _| {
        let options = AddEventListenerOptions::new();
        options.set_once(true);
        // It fails only for detached targets.
        let _ = signal.add_event_listener_with_callback_and_add_event_listener_options(
            "abort", &resolve, &options,
        );
    });
    let _ = JsFuture::from(heard).await;
}

struct Ports {
    send: MessagePort,
    waiting: Vec<Function>,
}

thread_local! {
    static PORTS: RefCell<Option<Ports>> = const { RefCell::new(None) };
}

impl Ports {
    fn open() -> Self {
        #[expect(clippy::expect_used, reason = "exists wherever wasm and promises do")]
        let channel = MessageChannel::new().expect("a MessageChannel");
        let heard = Closure::<dyn FnMut()>::new(|| {
            let waiting = PORTS.with(|ports| {
                let mut ports = ports.borrow_mut();
                ports
                    .as_mut()
                    .map(|ports| std::mem::take(&mut ports.waiting))
                    .unwrap_or_default()
            });
            for resolve in waiting {
                let _ = resolve.call0(&JsValue::UNDEFINED);
            }
        });
        channel
            .port1()
            .set_onmessage(Some(heard.as_ref().unchecked_ref()));
        heard.forget(); // lives as long as the port, which lives as long as the module
        Self {
            send: channel.port2(),
            waiting: Vec::new(),
        }
    }
}
