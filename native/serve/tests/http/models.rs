//! Several models and several devices.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use x2i_engine::{DeviceChoice, Model};
use x2i_serve::models::{Models, Served};

use crate::common::{MANY_STEPS, options, start};

/// The embedded model under several names.
fn named(names: &[&str]) -> Arc<Models> {
    let mut models = Models::default();
    for name in names {
        let model = Model::open("emoji").unwrap();
        models
            .add(
                *name,
                Served {
                    model,
                    control_weights: None,
                },
            )
            .unwrap();
    }
    Arc::new(models)
}

#[test]
fn models_are_loaded_on_demand_and_the_least_used_goes_where_memory_ends() {
    let mut options = options();
    options.models = named(&["a", "b", "c"]);
    // Two of them fit, of 16.2 MB each.
    options.engine.max_device_memory = vec![40_000_000];
    let server = start(options);
    let loaded = || {
        let ready = server.get("/ready").json();
        let names = ready["workers"][0]["loaded"].as_array().unwrap().clone();
        names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect::<BTreeSet<_>>()
    };
    let paint = |model: &str| {
        let id = server.order(&json!({"prompt": "a cat", "model": model}));
        server.until_status(&id, "succeeded")["model"].clone()
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(loaded(), names(&["a"]));
    assert_eq!(paint("b"), "b");
    assert_eq!(loaded(), names(&["a", "b"]));
    paint("a");
    paint("c"); // b was not used for the longest time
    assert_eq!(loaded(), names(&["a", "c"]));
}

#[test]
fn a_loaded_model_comes_first_but_not_for_ever() {
    let mut options = options();
    options.models = named(&["a", "b"]);
    options.engine.max_device_memory = vec![20_000_000]; // one of them fits
    let server = start(options);
    let blocker = server.order(&json!({"prompt": "a cat", "model": "a", "steps": MANY_STEPS}));
    server.until_status(&blocker, "running");
    let other = server.order(&json!({"prompt": "a cat", "model": "b"}));
    let same: Vec<_> = (0..12)
        .map(|_| server.order(&json!({"prompt": "a dog", "model": "a"})))
        .collect();
    server.post(&format!("/v1/x2i/jobs/{blocker}/cancel"), &json!({}));
    let begun = |id: &str| {
        server.until_status(id, "succeeded")["started_at"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let other = begun(&other);
    let before = same.iter().filter(|id| begun(id) < other).count();
    assert!(
        (1..=8).contains(&before),
        "{before} jobs of the loaded model were first"
    );
}

#[test]
fn several_devices_take_jobs_from_one_queue() {
    let mut options = options();
    options.devices = vec![DeviceChoice::Cpu.into(), DeviceChoice::Cpu.into()];
    let server = start(options);
    server.until("/ready", |ready| ready.json()["devices"] == 2);
    let long = json!({"prompt": "a cat", "steps": MANY_STEPS});
    let ids = [server.order(&long), server.order(&long)];
    for id in &ids {
        server.until_status(id, "running");
    }
    for id in &ids {
        server.post(&format!("/v1/x2i/jobs/{id}/cancel"), &json!({}));
        server.until_status(id, "canceled");
    }
}
