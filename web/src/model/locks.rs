//! Web Locks between all tabs and workers of the origin: who writes a file, and who reads it.
//!
//! Where there are none (an old browser, an opaque origin) everyone gets every lock at once; OPFS then
//! still refuses a second writer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_util::future::{Either, select};
use js_sys::{Array, Function, Promise, Reflect};
use send_wrapper::SendWrapper;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::js;

/// Before the names of our locks.
const PREFIX: &str = "x2i:";

/// How a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With others that read.
    Shared,
    /// With nobody.
    Exclusive,
}

/// A lock that is held, or waited for; dropping it gives it back, or gives up.
pub struct Lock {
    state: SendWrapper<Rc<State>>,
    /// Ends the waiting; undefined where nothing waits.
    waiting: SendWrapper<JsValue>,
}

#[derive(Default)]
struct State {
    release: RefCell<Option<Function>>,
    dropped: Cell<bool>,
}

impl Lock {
    /// Waits for a lock.
    pub async fn wait(name: &str, mode: Mode) -> Self {
        let controller = js::global(&["AbortController"]).dyn_into::<Function>();
        let controller = controller
            .and_then(|class| Reflect::construct(&class, &Array::new()))
            .unwrap_or_default();
        let signal = js::get(&controller, "signal");
        let options = js::object([("mode", mode.word()), ("signal", signal)]);
        let lock = Self::new(controller);
        // Only a browser without locks grants none here.
        lock.request(name, &options).await;
        lock
    }

    /// The lock, if nobody is in the way.
    pub async fn try_now(name: &str, mode: Mode) -> Option<Self> {
        let options = js::object([("mode", mode.word()), ("ifAvailable", true.into())]);
        let lock = Self::none();
        lock.request(name, &options).await.then_some(lock)
    }

    /// A lock of nothing.
    pub fn none() -> Self {
        Self::new(JsValue::UNDEFINED)
    }

    fn new(waiting: JsValue) -> Self {
        Self {
            state: SendWrapper::new(Rc::default()),
            waiting: SendWrapper::new(waiting),
        }
    }

    /// Whether the lock was granted. Without locks it is.
    async fn request(&self, name: &str, options: &JsValue) -> bool {
        let locks = js::global(&["navigator", "locks"]);
        if locks.is_undefined() {
            return true;
        }
        let mut settle = None;
        let granted = Promise::new(&mut |resolve, _| settle = Some(resolve));
        let (state, settle) = (Rc::clone(&self.state), settle.unwrap_or_default());
        let callback = Closure::once_into_js(move |lock: JsValue| -> JsValue {
            let found = !lock.is_null();
            let _ = settle.call1(&JsValue::UNDEFINED, &found.into());
            if !found || state.dropped.get() {
                return JsValue::UNDEFINED;
            }
            let hold = |resolve: Function, _: Function| *state.release.borrow_mut() = Some(resolve);
            Promise::new(&mut { hold }).into()
        });
        let arguments = [format!("{PREFIX}{name}").into(), options.clone(), callback];
        let refused = js::call_async(&locks, "request", &arguments);
        match select(JsFuture::from(granted), std::pin::pin!(refused)).await {
            // The request lasts as long as the lock; whatever ends it is no news.
            Either::Left((found, _)) => found.is_ok_and(|found| found.is_truthy()),
            // It ends before it is granted where the browser refuses it.
            Either::Right(_) => true,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.state.dropped.set(true);
        if let Some(release) = self.state.release.take() {
            let _ = release.call0(&JsValue::UNDEFINED);
        } else if !self.waiting.is_undefined() {
            let _ = js::call(&self.waiting, "abort", &[]);
        }
    }
}

impl Mode {
    fn word(self) -> JsValue {
        match self {
            Self::Shared => "shared".into(),
            Self::Exclusive => "exclusive".into(),
        }
    }
}
