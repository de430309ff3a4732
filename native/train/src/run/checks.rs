//! Which values settings can have.

use super::control_keys;
use super::settings::{ConditioningKind, Settings};

/// What is wrong with the first value that can't be.
pub(super) fn wrong(settings: &Settings) -> Option<String> {
    if settings.data.is_empty() {
        return Some("`data` names no shards, folder or file".to_owned());
    }
    if settings.answer_key.is_some() && settings.conditioning == ConditioningKind::Prompt {
        return Some(
            "`answer-key` needs `conditioning = \"answer\"`: the prompt's states have no answer"
                .to_owned(),
        );
    }
    count(settings)
        .or_else(|| number(settings))
        .or_else(|| control_keys::wrong(&settings.control_channels, settings.control_time))
}

fn count(settings: &Settings) -> Option<String> {
    const ANY: u64 = u64::MAX;
    let sized = |size: Option<usize>| size.unwrap_or(1) as u64;
    let counts = [
        ("updates", settings.updates, ANY),
        ("batch", settings.batch as u64, 65_536),
        ("accumulation", settings.accumulation as u64, 65_536),
        ("checkpoint-every", settings.checkpoint_every, ANY),
        ("keep", settings.keep as u64, ANY),
        ("validate-every", settings.validate_every, ANY),
        ("sample-every", settings.sample_every, ANY),
        ("teacher-tokens", settings.teacher_tokens as u64, 4096),
        ("rank", settings.rank as u64, 4096),
        ("width", sized(settings.width), 8192),
        ("height", sized(settings.height), 8192),
    ];
    let steps = settings.sample_steps.unwrap_or_default();
    if steps > 1000 {
        return Some(format!("`sample-steps` is {steps}; at most 1000 can be"));
    }
    counts
        .into_iter()
        .find_map(|(key, value, most)| match value {
            0 => Some(format!("`{key}` is 0; at least 1 is needed")),
            _ if value > most => Some(format!("`{key}` is {value}; at most {most} can be")),
            _ => None,
        })
}

fn number(settings: &Settings) -> Option<String> {
    let [first, second] = settings.betas;
    let parts = [("ema", settings.ema), ("betas", first), ("betas", second)];
    if let Some((key, value)) = parts.into_iter().find(|(_, x)| !(0.0..1.0).contains(x)) {
        return Some(format!(
            "`{key}` is {value}; it must be at least 0 and below 1"
        ));
    }
    let numbers = [
        ("learning-rate", settings.learning_rate),
        ("muon-learning-rate", settings.muon_learning_rate),
        ("eps", settings.eps),
        ("weight-decay", settings.weight_decay),
        ("clip", settings.clip),
        ("floor", settings.floor),
        ("cache-limit", settings.cache_limit),
        ("guidance", f64::from(settings.guidance.unwrap_or(1.0))),
        ("shift", f64::from(settings.shift)),
        ("alpha", f64::from(settings.alpha.unwrap_or(1.0))),
        ("caption-dropout", settings.caption_dropout),
        ("velocity", f64::from(settings.velocity)),
        ("pooled", f64::from(settings.pooled)),
    ];
    let wrong = |x: &f64| !x.is_finite() || *x < 0.0;
    if let Some((key, value)) = numbers.into_iter().find(|(_, x)| wrong(x)) {
        return Some(format!(
            "`{key}` is {value}; it must be a number of at least 0"
        ));
    }
    let positive = [
        ("temperature", f64::from(settings.temperature)),
        ("decay", settings.decay),
    ];
    let found = positive.into_iter().find(|(_, x)| wrong(x) || *x == 0.0);
    found.map(|(key, value)| format!("`{key}` is {value}; it must be above 0"))
}
