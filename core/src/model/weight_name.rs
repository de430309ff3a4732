//! A weight file's name, taken apart: stem, variant, shard, format.
//!
//! `diffusion_pytorch_model.fp16-00001-of-00002.safetensors` is the first of two shards of the variant
//! `fp16`; older diffusers writes `diffusion_pytorch_model-00001-of-00002.fp16.safetensors`.
//! llama.cpp's `gguf-split` numbers GGUF files in the same way.

/// The formats of weight files, the preferred first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Safetensors,
    Gguf,
    Pickle,
}

impl Kind {
    /// The format that a name's end stands for, in either case.
    fn of(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "safetensors" | "sft" => Self::Safetensors,
            "gguf" => Self::Gguf,
            "bin" | "pt" | "pth" | "ckpt" => Self::Pickle,
            _ => return None,
        })
    }
}

/// The format of a path's file; `None` for a folder, and for other files.
pub(super) fn kind(path: &str) -> Option<Kind> {
    Kind::of(path.rsplit_once('.')?.1)
}

/// Where a shard's number stands in a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) count: usize,
    /// What stands before the number.
    before: String,
    /// What stands after the count.
    after: String,
    digits: usize,
}

impl Shard {
    /// The place of `-00001-of-00003` in a name or path, if it is there once.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (before, rest) = path.rsplit_once("-of-")?;
        let (start, number) = before.rsplit_once('-')?;
        let digits = number.len();
        let (count, after) = rest.split_at_checked(digits)?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let plain = is_number(number) && is_number(count) && !after.starts_with(char::is_numeric);
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        let sane = plain && (1..=count).contains(&number) && count <= MOST_SHARDS;
        sane.then(|| Self {
            number,
            count,
            before: start.to_owned(),
            after: after.to_owned(),
            digits,
        })
    }

    /// The paths of all shards, in order.
    pub(super) fn all(&self) -> Vec<String> {
        let Self {
            count,
            before,
            after,
            digits,
            ..
        } = self;
        let one = |number| format!("{before}-{number:0digits$}-of-{count:0digits$}{after}");
        (1..=*count).map(one).collect()
    }
}

/// The most shards of one part; the largest published models have some hundreds.
const MOST_SHARDS: usize = 1000;

/// The shards that a path is one of; else the path alone.
pub(super) fn with_siblings(path: &str) -> Vec<String> {
    match Shard::of(path) {
        Some(shard) if kind(path).is_some() => shard.all(),
        _ => vec![path.to_owned()],
    }
}

/// A name of a part's weight files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WeightName {
    pub(super) kind: Kind,
    pub(super) variant: Option<String>,
    pub(super) shard: Option<Shard>,
}

impl WeightName {
    /// Takes a name apart; `None` where its stem is another one.
    pub(super) fn of(name: &str, stem: &str) -> Option<Self> {
        let (rest, extension) = name.rsplit_once('.')?;
        let kind = Kind::of(extension)?;
        let tail = rest.strip_prefix(stem)?;
        let shard = Shard::of(name);
        let tail = match &shard {
            Some(shard) => {
                let start = shard.before.strip_prefix(stem)?;
                let (end, _) = shard.after.rsplit_once('.')?;
                format!("{start}{end}")
            }
            None => tail.to_owned(),
        };
        let variant = match tail.as_str() {
            "" => None,
            tail => Some(tail.strip_prefix('.')?.to_owned()),
        };
        Some(Self {
            kind,
            variant,
            shard,
        })
    }

    /// Which of several is taken, the smallest first: the whole precision before halves, bf16 (whose
    /// range is that of f32) before fp16, one file before shards.
    pub(super) fn rank(&self) -> (Kind, usize, Option<&str>, bool) {
        let variant = self.variant.as_deref();
        let known = [None, Some("fp32"), Some("bf16"), Some("fp16")];
        let at = known.iter().position(|known| *known == variant);
        (
            self.kind,
            at.unwrap_or(known.len()),
            variant,
            self.shard.is_some(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed = (Kind, Option<String>, Option<(usize, usize)>);

    fn parsed(name: &str) -> Option<Parsed> {
        let name = WeightName::of(name, "model")?;
        let shard = name.shard.map(|shard| (shard.number, shard.count));
        Some((name.kind, name.variant, shard))
    }

    #[test]
    fn names_are_taken_apart() {
        use Kind::{Gguf, Pickle, Safetensors};
        let fp16 = || Some("fp16".to_owned());
        for (name, expected) in [
            ("model.safetensors", (Safetensors, None, None)),
            ("model.SAFETENSORS", (Safetensors, None, None)),
            ("model.sft", (Safetensors, None, None)),
            ("model.GGUF", (Gguf, None, None)),
            ("model.fp16.safetensors", (Safetensors, fp16(), None)),
            ("model-00002-of-00003.bin", (Pickle, None, Some((2, 3)))),
            (
                "model.fp16-00001-of-00002.safetensors",
                (Safetensors, fp16(), Some((1, 2))),
            ),
            (
                "model-00001-of-00002.fp16.safetensors",
                (Safetensors, fp16(), Some((1, 2))),
            ),
        ] {
            assert_eq!(parsed(name), Some(expected), "{name}");
        }
        for other in [
            "model.json",
            "model",
            "models.safetensors",
            "model-v2.safetensors",
            "model.safetensors.index.json",
            "adapter_model.safetensors",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn a_shard_knows_the_others() {
        assert_eq!(
            with_siblings("a-of-b/flux-Q8_0-00002-of-00003.gguf"),
            [1, 2, 3].map(|n| format!("a-of-b/flux-Q8_0-0000{n}-of-00003.gguf"))
        );
        for whole in [
            "flux.gguf",
            "flux-4-of-3.gguf",
            "flux-0-of-3.gguf",
            "flux-00001-of-99999.gguf",
            "best-of-show.gguf",
            "folder-00001-of-00002",
        ] {
            assert_eq!(with_siblings(whole), [whole]);
        }
    }
}
