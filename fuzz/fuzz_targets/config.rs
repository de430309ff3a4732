//! Any text as every config that is read: the first byte chooses which, or a whole folder of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::ModelConfig;
use x2i_core::config::{EncoderConfig, FluxConfig, SchedulerConfig, VaeConfig};
use x2i_core::model::{read_config, survey};
use x2i_fuzz::Folder;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, json)) = bytes.split_first() else {
        return;
    };
    match which % 6 {
        0 => drop(EncoderConfig::from_json("fuzz", json)),
        1 => drop(ModelConfig::from_json("fuzz", json)),
        2 => check(json, |config: FluxConfig| config.validate("fuzz")),
        3 => check(json, |config: VaeConfig| config.validate("fuzz")),
        4 => check(json, |config: SchedulerConfig| config.validate("fuzz")),
        _ => {
            let folder = Folder::of(json);
            drop(pollster::block_on(read_config(&folder)));
            drop(pollster::block_on(survey(&folder)));
        }
    }
});

fn check<T: serde::de::DeserializeOwned>(
    json: &[u8],
    validate: impl Fn(T) -> x2i_core::Result<()>,
) {
    if let Ok(config) = serde_json::from_slice(json) {
        drop(validate(config));
    }
}
