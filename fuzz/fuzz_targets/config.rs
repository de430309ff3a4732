//! Any text as every config that is read: the first byte chooses which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::ModelConfig;
use x2i_core::config::{EncoderConfig, FluxConfig, SchedulerConfig, VaeConfig};

fuzz_target!(|bytes: &[u8]| {
    let Some((which, json)) = bytes.split_first() else { return };
    match which % 5 {
        0 => drop(EncoderConfig::from_json("fuzz", json)),
        1 => drop(ModelConfig::from_json("fuzz", json)),
        2 => check(json, |config: FluxConfig| config.validate("fuzz")),
        3 => check(json, |config: VaeConfig| config.validate("fuzz")),
        _ => check(json, |config: SchedulerConfig| config.validate("fuzz")),
    }
});

fn check<T: serde::de::DeserializeOwned>(json: &[u8], validate: impl Fn(T) -> x2i_core::Result<()>) {
    if let Ok(config) = serde_json::from_slice(json) {
        drop(validate(config));
    }
}
