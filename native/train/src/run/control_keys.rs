//! Keys of LightControl's runs.

/// All keys that not every run has; some are also those of AlignNet's or a LoRA's.
pub(super) const ALL: [&str; 13] = [
    "hint",
    "sample-hints",
    "zero-start",
    "control-weights",
    "control-channels",
    "control-time",
    "prompt-format",
    "conditioning",
    "density",
    "shift",
    "weighting",
    "resolution",
    "caption-dropout",
];

/// The most channels of a layer.
const MOST_CHANNELS: usize = 1 << 14;
/// Groups of the norms of what three first convolutions and two stages give; the next stage's norms count too.
const GROUPS: [usize; 5] = [2, 2, 4, 8, 8];

/// What is wrong with the sizes of fresh nets: channels, and the width of the noise level's embedding.
pub(super) fn wrong(channels: &[usize], time: usize) -> Option<String> {
    let fits = channels.len() == GROUPS.len()
        && channels.iter().zip(GROUPS).all(|(&channels, groups)| {
            (1..=MOST_CHANNELS).contains(&channels) && channels.is_multiple_of(groups)
        });
    if !fits {
        return Some(format!(
            "`control-channels` is {channels:?}; five numbers up to {MOST_CHANNELS} are needed, multiples of {GROUPS:?}"
        ));
    }
    match (1..=MOST_CHANNELS).contains(&time) {
        true => None,
        false => Some(format!(
            "`control-time` is {time}; it must be from 1 to {MOST_CHANNELS}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Settings, What};
    use toml::Table;

    #[test]
    fn keys_of_other_runs_and_sizes_that_can_not_be_are_refused() {
        let read = |text: &str| Settings::read(What::Control, "run.toml", text, Table::new());
        let shared = "data = ['a']\nhint = 'edges'\ndensity = 'shift'\nconditioning = 'answer'";
        assert!(read(shared).is_ok());
        for (line, expected) in [
            (
                "start = 'model'",
                "`start` is a key of `align`, not of `control`",
            ),
            ("rank = 4", "`rank` is a key of `lora`, not of `control`"),
            (
                "hint = 'canny'",
                "unknown variant `canny`, expected one of `source`, `edges`, `gray`",
            ),
            ("control-channels = [16, 16]", "five numbers"),
            (
                "control-channels = [16, 16, 32, 36, 64]",
                "multiples of [2, 2, 4, 8, 8]",
            ),
            ("control-time = 0", "`control-time` is 0"),
        ] {
            let error = read(&format!("data = ['a']\n{line}")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
