//! PEFT's config of an adapter: what its numbers are multiplied by, and whether x2i can apply it.
//!
//! Source: `LoraConfig`, `LoHaConfig`, `LoKrConfig` and `get_pattern_key` of PEFT; `adapter_config.json`
//! stands beside an adapter's weights. diffusers 0.34 and later write the same into the header of a
//! safetensors file as `lora_adapter_metadata`, every key after the name of its part. Left out:
//! `target_modules` and `exclude_modules`, which the keys of the weights repeat.

use regex::bytes::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// PEFT's rank where a config has none.
const DEFAULT_ALPHA: f64 = 8.0;
/// A config is a few kB, with a pattern for each layer a few hundred.
const MOST_BYTES: usize = 4 << 20;
/// Keys by which a config without the name of its part is known.
const OWN: [&str; 4] = ["r", "lora_alpha", "alpha", "peft_type"];
/// Patterns of one kind. FLUX has fewer layers.
const MOST_PATTERNS: usize = 1000;
/// Bytes of a compiled pattern, and again of what its matcher keeps. A stranger's `\w{9999}` would take many MB.
const PATTERN_BYTES: usize = 1 << 16;
/// Initial values for which PEFT changes the base model too, so that the adapter alone is not the change.
const CHANGES_BASE: &[&str] = &["pissa", "olora", "corda", "loftq"];

/// The config of a PEFT adapter.
#[derive(Debug, Clone)]
pub struct LoraConfig {
    alpha: f64,
    rank: Option<usize>,
    alphas: Vec<(Regex, f64)>,
    ranks: Vec<(Regex, usize)>,
    /// Alphas are divided by the rank's square root.
    root: bool,
    /// DoRA's magnitudes belong to every pair.
    pub(super) dora: bool,
}

impl LoraConfig {
    /// Reads an `adapter_config.json`; `file` is for messages.
    ///
    /// # Errors
    /// [`Error::Config`] for broken JSON, for a value of the wrong type, and for a config that asks for
    /// what x2i does not have, naming the key.
    pub fn parse(file: &str, json: &[u8]) -> Result<Self> {
        Self::of_part(file, json, "")
    }

    /// Reads the config of the transformer from the metadata of diffusers; `None` where it has none.
    pub(super) fn parse_metadata(file: &str, json: &str) -> Result<Option<Self>> {
        const PART: &str = "transformer.";
        let file = format!("{file}: its `lora_adapter_metadata`");
        let Fields(values) = Fields::read(&file, json.as_bytes())?;
        let part = match values.keys().any(|key| key.starts_with(PART)) {
            true => PART,
            // A transformer that is saved alone, and not by its pipeline, writes no part's name.
            false if OWN.iter().any(|key| values.contains_key(*key)) => "",
            false => return Ok(None),
        };
        Self::of_part(&file, json.as_bytes(), part).map(Some)
    }

    fn of_part(file: &str, json: &[u8], part: &str) -> Result<Self> {
        let bad = |reason: String| Error::config(file, reason);
        let fields = Fields::read(file, json)?.of_part(part);
        fields.check_kind().map_err(bad)?;
        // LoRAs have `lora_alpha`, LoHa and LoKr `alpha`.
        let alpha = match fields.number("lora_alpha").map_err(bad)? {
            Some(alpha) => Some(alpha),
            None => fields.number("alpha").map_err(bad)?,
        };
        let rank = fields.number("r").map_err(bad)?;
        let rank = rank.map(|rank| as_rank("r", rank)).transpose();
        let ranks = fields.patterns("rank_pattern").map_err(bad)?;
        let ranks = ranks
            .into_iter()
            .map(|(pattern, rank)| Ok((pattern, as_rank("rank_pattern", rank)?)));
        Ok(Self {
            alpha: alpha.unwrap_or(DEFAULT_ALPHA),
            rank: rank.map_err(bad)?,
            alphas: fields.patterns("alpha_pattern").map_err(bad)?,
            ranks: ranks.collect::<Result<_, String>>().map_err(bad)?,
            root: fields.flag("use_rslora").map_err(bad)?,
            dora: fields.flag("use_dora").map_err(bad)?,
        })
    }

    /// What the change of a module is multiplied by; `rank` is that of its tensors, where they have one.
    ///
    /// # Errors
    /// What is wrong, for a rank that is not the config's.
    pub(super) fn scaling(&self, module: &str, rank: Option<usize>) -> Result<f64, String> {
        fn of<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
            let found = patterns
                .iter()
                .find(|(pattern, _)| pattern.is_match(module.as_bytes()));
            found.map(|(_, value)| *value)
        }
        let expected = of(&self.ranks, module).or(self.rank);
        let rank = match (rank, expected) {
            (Some(rank), Some(expected)) if rank != expected => {
                return Err(format!(
                    "`{module}` has rank {rank}, its config says {expected}"
                ));
            }
            (rank, expected) => rank.or(expected).unwrap_or(DEFAULT_ALPHA as usize) as f64,
        };
        let alpha = of(&self.alphas, module).unwrap_or(self.alpha);
        Ok(match self.root {
            true => alpha / rank.sqrt(),
            false => alpha / rank,
        })
    }
}

/// The pattern of a name's end, from a dot on. The names of FLUX's layers are ASCII, for which classes of
/// bytes say the same as Unicode's and are far smaller.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
        .unicode(false)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .build()
}

fn as_rank(key: &str, rank: f64) -> Result<usize, String> {
    if rank >= 1.0 && rank.fract() == 0.0 && rank <= f64::from(u32::MAX) {
        return Ok(rank as usize);
    }
    Err(format!("{key}: {rank} is no rank"))
}

/// The config's values, in the order of the file.
#[derive(Debug)]
struct Fields(Map<String, Value>);

impl Fields {
    fn read(file: &str, json: &[u8]) -> Result<Self> {
        if json.len() > MOST_BYTES {
            let reason = format!("has {} bytes, the limit is {MOST_BYTES}", json.len());
            return Err(Error::config(file, reason));
        }
        let fields = serde_json::from_slice(json);
        fields
            .map(Self)
            .map_err(|error| Error::config(file, format!("is no config of an adapter: {error}")))
    }

    /// The fields of one part, without its name.
    fn of_part(self, part: &str) -> Self {
        let values = self.0.into_iter();
        let inner =
            |(key, value): (String, Value)| Some((key.strip_prefix(part)?.to_owned(), value));
        Self(values.filter_map(inner).collect())
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        match self.0.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(format!("{key}: should be a number")),
            },
        }
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(format!("{key}: should be true or false")),
        }
    }

    /// Patterns of module names, as PEFT matches them.
    fn patterns(&self, key: &str) -> Result<Vec<(Regex, f64)>, String> {
        let patterns = match self.0.get(key) {
            None | Some(Value::Null) => return Ok(vec![]),
            Some(Value::Object(patterns)) => patterns,
            Some(_) => return Err(format!("{key}: should be numbers by patterns")),
        };
        if patterns.len() > MOST_PATTERNS {
            let count = patterns.len();
            return Err(format!(
                "{key}: has {count} patterns, the limit is {MOST_PATTERNS}"
            ));
        }
        let compiled = patterns.iter().map(|(pattern, number)| {
            let short: String = pattern.chars().take(80).collect();
            let whole = whole(pattern).map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => format!("{key}: `{short}` is too large"),
                _ => format!("{key}: `{short}` is no pattern of names"),
            })?;
            let number = number.as_f64();
            let number = number.ok_or_else(|| format!("{key}: `{short}` should have a number"))?;
            Ok((whole, number))
        });
        compiled.collect()
    }

    /// Refuses what would not be applied as it was trained.
    fn check_kind(&self) -> Result<(), String> {
        let text = |key: &str| self.0.get(key).and_then(Value::as_str);
        if let Some(kind) = text("peft_type")
            && !["LORA", "LOHA", "LOKR"].contains(&kind)
        {
            let kind: String = kind.chars().take(80).collect();
            return Err(format!(
                "peft_type: {kind} can't be applied; LORA, LOHA and LOKR can"
            ));
        }
        for key in ["init_lora_weights", "init_weights"] {
            if let Some(init) = text(key)
                && (CHANGES_BASE.iter().any(|begin| init.starts_with(begin)) || init == "abba")
            {
                let init: String = init.chars().take(80).collect();
                return Err(format!(
                    "{key}: `{init}` changes the base model too; convert the adapter to a plain LoRA"
                ));
            }
        }
        const KNOWN: &[&str] = &["use_rslora", "use_dora", "use_effective_conv2d"];
        let unset = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text == "auto",
            _ => false,
        };
        let asks = |key: &str| match key {
            "modules_to_save" | "layer_replication" | "target_parameters" => true,
            other => other.starts_with("use_") && !KNOWN.contains(&other),
        };
        let wanted = self
            .0
            .iter()
            .find(|(key, value)| asks(key) && !unset(value));
        match wanted {
            Some((key, _)) => Err(format!("{key}: x2i does not have this")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling(json: &str, module: &str, rank: usize) -> Result<f64, String> {
        let config = LoraConfig::parse("c.json", json.as_bytes());
        config.expect("a config").scaling(module, Some(rank))
    }

    #[test]
    fn alphas_are_divided_by_ranks_or_their_roots() {
        assert_eq!(scaling(r#"{"lora_alpha": 8, "r": 4}"#, "a", 4), Ok(2.0));
        assert_eq!(scaling(r#"{"alpha": 2, "r": 4}"#, "a", 4), Ok(0.5));
        assert_eq!(scaling("{}", "a", 16), Ok(0.5), "PEFT's alpha is 8");
        let root = r#"{"lora_alpha": 8, "r": 4, "use_rslora": true}"#;
        assert_eq!(scaling(root, "a", 4), Ok(4.0));
    }

    #[test]
    fn the_first_pattern_of_a_module_counts() {
        let json = r#"{"lora_alpha": 8, "r": 4,
            "rank_pattern": {"attn.to_q": 2, "^x.attn.to_k": 8, "blocks\\.\\d+\\.mlp": 16},
            "alpha_pattern": {"to_q": 1, "attn.to_q": 99}}"#;
        assert_eq!(scaling(json, "x.attn.to_q", 2), Ok(0.5));
        assert_eq!(scaling(json, "x.attn.to_k", 8), Ok(1.0));
        assert_eq!(scaling(json, "y.x.attn.to_k", 4), Ok(2.0));
        assert_eq!(scaling(json, "blocks.12.mlp", 16), Ok(0.5));
        assert_eq!(scaling(json, "other.to_v", 4), Ok(2.0));
        let wrong = scaling(json, "x.attn.to_q", 4).unwrap_err();
        assert!(wrong.contains("rank 4") && wrong.contains('2'), "{wrong}");
    }

    #[test]
    fn a_pattern_for_every_layer_fits_and_one_of_a_stranger_stays_small() {
        let layer = |at: usize| format!(r"single_transformer_blocks\.{at}\.attn\.to_[qkv]");
        let patterns = |count: usize, pattern: &dyn Fn(usize) -> String| {
            let ranks = (0..count).map(|at| (pattern(at), Value::from(at + 1)));
            let ranks = Value::Object(ranks.collect());
            serde_json::json!({"lora_alpha": 6, "rank_pattern": ranks}).to_string()
        };
        let json = patterns(1000, &layer);
        let last = "transformer.single_transformer_blocks.999.attn.to_k";
        assert_eq!(scaling(&json, last, 1000), Ok(0.006));
        let error = |json: String| {
            let error = LoraConfig::parse("c.json", json.as_bytes()).unwrap_err();
            error.to_string()
        };
        assert!(error(patterns(1001, &layer)).contains("1001 patterns, the limit is 1000"));
        // Unicode's words would take megabytes each.
        let words = patterns(1000, &|at| format!(r"\w{{400}}{at}"));
        let name = format!("x.{}7", "é".repeat(200));
        assert_eq!(scaling(&words, "a", 8), Ok(0.75));
        assert_eq!(scaling(&words, &name, 8), Ok(0.75));
        assert!(error(patterns(9, &|at| format!(r"\w{{9000}}{at}"))).contains("too large"));
    }

    #[test]
    fn metadata_of_diffusers_names_its_part_first() {
        let json = r#"{"transformer.lora_alpha": 8, "transformer.r": 4, "text_encoder.r": 2}"#;
        let config = LoraConfig::parse_metadata("a", json).expect("it is read");
        let config = config.expect("a transformer's");
        assert_eq!(config.scaling("a", Some(4)), Ok(2.0));
        let other = LoraConfig::parse_metadata("a", r#"{"text_encoder.r": 2}"#);
        assert!(other.expect("it is read").is_none());
    }

    #[test]
    fn what_can_not_be_applied_is_refused_by_its_key() {
        for (json, word) in [
            (r#"{"peft_type": "IA3"}"#, "peft_type: IA3"),
            (r#"{"modules_to_save": ["proj_out"]}"#, "modules_to_save"),
            (r#"{"use_qalora": true}"#, "use_qalora"),
            (r#"{"layer_replication": [[0, 4]]}"#, "layer_replication"),
            (r#"{"init_lora_weights": "pissa_niter_16"}"#, "pissa"),
            (r#"{"lora_alpha": "8"}"#, "lora_alpha: should be"),
            (r#"{"r": 0}"#, "r: 0"),
            (r#"{"rank_pattern": {"a": 0.5}}"#, "rank_pattern: 0.5"),
            (r#"{"rank_pattern": {"a(": 2}}"#, "rank_pattern: `a(`"),
            (r#"{"rank_pattern": [1]}"#, "numbers by patterns"),
            (
                r#"{"rank_pattern": {"(a{99}){99}": 2}}"#,
                "rank_pattern: `(a{99}){99}` is too large",
            ),
            (r#"{"use_dora": 1}"#, "use_dora"),
            ("[]", "no config"),
            ("{", "no config"),
        ] {
            let error = LoraConfig::parse("c.json", json.as_bytes()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(word) && error.contains("c.json"), "{error}");
        }
        let fine = r#"{"modules_to_save": null, "use_dora": false, "layer_replication": null,
            "use_effective_conv2d": true, "rank_pattern": null, "init_lora_weights": true}"#;
        assert!(LoraConfig::parse("c.json", fine.as_bytes()).is_ok());
    }
}
