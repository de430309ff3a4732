//! Which files of a repository make a model, as core's `model` finds them.
//!
//! Taken are configs, tokenizers and weights. Left out are pickles beside the same weights as safetensors,
//! variants beside the usual weights, what other libraries read (ONNX, TensorFlow), programs, pictures and
//! texts; and of FLUX as diffusers lays it out the text encoders, which AlignNet replaces.

use x2i_core::{Error, Result};

use super::glob;
use super::reference::Reference;
use super::repository::Listed;

/// Endings of what is no weight and is read.
const SMALL: [&str; 5] = ["json", "jinja", "txt", "model", "tiktoken"];
/// Endings of pickles.
const PICKLES: [&str; 4] = ["bin", "pt", "pth", "ckpt"];
/// Folders of other libraries, and of what is no model.
const OTHERS: [&str; 11] = [
    "onnx",
    "openvino",
    "coreml",
    "flax",
    "tensorrt",
    "gguf_imatrix",
    "assets",
    "images",
    "examples",
    "figures",
    "docs",
];
/// Parts of FLUX that AlignNet replaces.
const REPLACED: [&str; 7] = [
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "feature_extractor",
    "image_encoder",
    "safety_checker",
];
/// Variants of weights, which lie beside the usual ones.
const VARIANTS: [&str; 5] = [".fp16", ".bf16", ".fp32", ".non_ema", ".ema"];

/// The files to download: those that are named, else those that make a model.
///
/// # Errors
/// [`Error::Config`] when none is of the name, when there is no weight file, or when only the user knows
/// which of several GGUF files is wanted.
pub(super) fn choose(reference: &Reference, files: &[Listed]) -> Result<Vec<Listed>> {
    let refused = |reason: String| Error::config(reference.to_string(), reason);
    if let Some(pattern) = reference.pattern() {
        let named = files
            .iter()
            .filter(|file| glob::matches(pattern, &file.path));
        let named: Vec<Listed> = named.cloned().collect();
        return match named.is_empty() {
            true => Err(refused(format!(
                "has no file {pattern}; it has {}",
                names(files)
            ))),
            false => Ok(named),
        };
    }
    let folders = Folders { files };
    let mut chosen = Vec::new();
    for file in files {
        if folders.wants(&file.path) {
            chosen.push(file.clone());
        }
    }
    if let Some(reason) = ambiguous(&chosen, &folders) {
        return Err(refused(reason));
    }
    let ggufs: Vec<&str> = visions_left_out(&chosen);
    let left_out: Vec<String> = ggufs.into_iter().map(str::to_owned).collect();
    chosen.retain(|file| !left_out.contains(&file.path));
    match chosen.iter().any(|file| is_weight(&file.path)) {
        true => Ok(chosen),
        false => Err(refused(format!(
            "has no weights in a format that x2i reads (safetensors, GGUF, PyTorch); it has {}",
            names(files)
        ))),
    }
}

/// Some names, for a message.
fn names(files: &[Listed]) -> String {
    const SHOWN: usize = 12;
    let weights = files.iter().filter(|file| is_weight(&file.path));
    let first: Vec<&str> = weights.map(|file| file.path.as_str()).take(SHOWN).collect();
    match (first.len(), files.len()) {
        (0, count) => format!("{count} files, and no weights"),
        (shown, count) if shown < count => {
            format!("{} and {} more", first.join(", "), count - shown)
        }
        _ => first.join(", "),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// A name's last ending, in small letters.
fn ending(path: &str) -> String {
    let ending = file_name(path).rsplit_once('.');
    ending.map_or_else(String::new, |(_, ending)| ending.to_ascii_lowercase())
}

fn is_weight(path: &str) -> bool {
    let ending = ending(path);
    ["safetensors", "sft", "gguf"].contains(&ending.as_str()) || PICKLES.contains(&ending.as_str())
}

fn is_vision(path: &str) -> bool {
    file_name(path).to_ascii_lowercase().contains("mmproj")
}

/// The files of a repository, which are looked at folder by folder.
struct Folders<'a> {
    files: &'a [Listed],
}

impl Folders<'_> {
    fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    fn beside<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.files.iter().map(|file| file.path.as_str());
        all.filter(move |other| parent(other) == parent(path))
    }

    fn wants(&self, path: &str) -> bool {
        let folder = parent(path);
        let hidden = path.split('/').any(|part| part.starts_with('.'));
        let other = folder.split('/').any(|part| OTHERS.contains(&part));
        if hidden || other || self.is_replaced(path) {
            return false;
        }
        let ending = ending(path);
        match ending.as_str() {
            "safetensors" | "sft" => !self.is_variant(path) && !self.is_single_of_diffusers(path),
            "gguf" => !file_name(path).to_ascii_lowercase().contains("imatrix"),
            ending if PICKLES.contains(&ending) => {
                !self.has_safetensors(path) && !self.is_variant(path)
            }
            "json" if path.ends_with(".bin.index.json") => !self.has_safetensors(path),
            ending => SMALL.contains(&ending) && !is_prose(path),
        }
    }

    /// Whether it is a part of FLUX that AlignNet replaces.
    fn is_replaced(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let at = parts.iter().position(|part| REPLACED.contains(part));
        let Some(at) = at.filter(|at| at + 1 < parts.len()) else {
            return false;
        };
        let base = parts[..at].join("/");
        self.has_diffusers(&base)
    }

    fn has_diffusers(&self, base: &str) -> bool {
        match base {
            "" => self.has("transformer/config.json"),
            base => self.has(&format!("{base}/transformer/config.json")),
        }
    }

    /// Whether it is FLUX or its VAE in one file beside diffusers' folders, which hold the same.
    fn is_single_of_diffusers(&self, path: &str) -> bool {
        let name = file_name(path).to_ascii_lowercase();
        self.has_diffusers(parent(path)) && (name.starts_with("flux1") || name.starts_with("ae."))
    }

    /// Whether the usual weights lie beside a variant (`model.fp16.safetensors`).
    fn is_variant(&self, path: &str) -> bool {
        let name = file_name(path);
        let Some(stem) = VARIANTS
            .iter()
            .find_map(|variant| Some(name.split_once(variant)?.0))
        else {
            return false;
        };
        let usual = |other: &str| {
            let rest = file_name(other).strip_prefix(stem).unwrap_or_default();
            is_weight(other)
                && (rest.starts_with('-') || rest.matches('.').count() == 1)
                && !VARIANTS.iter().any(|variant| rest.starts_with(variant))
        };
        self.beside(path).any(|other| other != path && usual(other))
    }

    /// Whether the weights of a pickle are there as safetensors too.
    fn has_safetensors(&self, path: &str) -> bool {
        let stem = |path: &str| {
            let name = file_name(path).to_ascii_lowercase();
            let stem = name.split(['.']).next().unwrap_or_default().to_owned();
            let stem = stem
                .split_once("-0")
                .map_or(stem.clone(), |(stem, _)| stem.to_owned());
            match stem.as_str() {
                "pytorch_model" => "model".to_owned(),
                _ => stem,
            }
        };
        let own = stem(path);
        let safe = |other: &&str| ["safetensors", "sft"].contains(&ending(other).as_str());
        self.beside(path)
            .filter(safe)
            .any(|other| stem(other) == own)
    }
}

/// Texts for people.
fn is_prose(path: &str) -> bool {
    let name = file_name(path).to_ascii_lowercase();
    let prose = [
        "readme",
        "license",
        "licence",
        "notice",
        "requirements",
        "changelog",
        "use_policy",
    ];
    ending(path) == "txt" && prose.iter().any(|start| name.starts_with(start))
}

/// What a GGUF file and its other parts share: the name before the number of the part.
fn family(path: &str) -> &str {
    let stem = path
        .rsplit_once("-of-")
        .and_then(|(start, _)| start.rsplit_once('-'));
    stem.map_or(path, |(family, number)| {
        match number.bytes().all(|b| b.is_ascii_digit()) {
            true => family,
            false => path,
        }
    })
}

/// Why only the user knows which GGUF file is wanted, if that is so. A converted model lists its own.
fn ambiguous(chosen: &[Listed], folders: &Folders) -> Option<String> {
    let is_model = |path: &str| ending(path) == "gguf" && !is_vision(path);
    let models = chosen.iter().filter(|file| is_model(&file.path));
    for file in models {
        let folder = parent(&file.path);
        let config = match folder {
            "" => "model.json".to_owned(),
            folder => format!("{folder}/model.json"),
        };
        let beside = chosen
            .iter()
            .filter(|other| is_model(&other.path) && parent(&other.path) == folder);
        let mut families: Vec<&str> = beside.map(|other| family(&other.path)).collect();
        families.dedup();
        families.sort_unstable();
        families.dedup();
        if families.len() > 1 && !folders.has(&config) {
            let shown: Vec<&str> = families.iter().copied().take(12).collect();
            return Some(format!(
                "has {} models as GGUF ({}{}); name one after a colon, as in {}",
                families.len(),
                shown.join(", "),
                if shown.len() < families.len() {
                    ", ..."
                } else {
                    ""
                },
                families[0]
            ));
        }
    }
    None
}

/// The vision parts of a GGUF model that are not the best: F16 before BF16 before F32, as core takes them.
fn visions_left_out(chosen: &[Listed]) -> Vec<&str> {
    let rank = |path: &str| {
        let name = file_name(path).to_ascii_lowercase();
        match () {
            () if name.contains("bf16") => 1,
            () if name.contains("f16") => 0,
            () if name.contains("f32") => 2,
            () => 3,
        }
    };
    let visions = chosen.iter().map(|file| file.path.as_str());
    let visions = visions.filter(|path| ending(path) == "gguf" && is_vision(path));
    let visions: Vec<&str> = visions.collect();
    let is_worse = |path: &&str| {
        let own = (rank(path), *path);
        visions
            .iter()
            .any(|other| parent(other) == parent(path) && (rank(other), *other) < own)
    };
    visions.iter().copied().filter(is_worse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(reference: &str, files: &[&str]) -> Result<Vec<String>> {
        let listed = |path: &&str| Listed {
            path: (*path).to_owned(),
            size: None,
            hash: None,
        };
        let files: Vec<Listed> = files.iter().map(listed).collect();
        let chosen = choose(&reference.parse()?, &files)?;
        Ok(chosen.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn flux_comes_as_diffusers_lays_it_out() {
        let files = [
            ".gitattributes",
            "README.md",
            "LICENSE.md",
            "ae.safetensors",
            "dev_grid.jpg",
            "flux1-dev.safetensors",
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "tokenizer/vocab.json",
            "tokenizer_2/spiece.model",
            "transformer/config.json",
            "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
            "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
            "transformer/diffusion_pytorch_model.safetensors.index.json",
            "vae/config.json",
            "vae/diffusion_pytorch_model.fp16.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        let expected = [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "transformer/config.json",
            "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
            "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
            "transformer/diffusion_pytorch_model.safetensors.index.json",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ];
        assert_eq!(chosen("a/b", &files).unwrap(), expected);
        // In a folder of a whole model too, and its LLM's tokenizer stays.
        let inner = [
            "flux/transformer/config.json",
            "flux/transformer/a.safetensors",
            "flux/ae.safetensors",
            "flux/text_encoder/x.safetensors",
            "mllm/tokenizer.json",
            "mllm/model.safetensors",
            "proj/x_proj.pt",
        ];
        let kept = [
            "flux/transformer/config.json",
            "flux/transformer/a.safetensors",
            "mllm/tokenizer.json",
            "mllm/model.safetensors",
            "proj/x_proj.pt",
        ];
        assert_eq!(chosen("a/b", &inner).unwrap(), kept);
        // BFL's single files alone.
        let single = ["flux1-dev.safetensors", "ae.safetensors"];
        assert_eq!(chosen("a/b", &single).unwrap(), single);
    }

    #[test]
    fn pickles_come_where_nothing_else_is() {
        let both = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "pytorch_model-00001-of-00001.bin",
            "pytorch_model.bin.index.json",
            "tf_model.h5",
            "onnx/model.onnx",
            "modeling.py",
            "merges.txt",
            "README.txt",
        ];
        let kept = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "merges.txt",
        ];
        assert_eq!(chosen("a/b", &both).unwrap(), kept);
        let x2i = [
            "internvl2.5-1b_proj.pt",
            "qwen2.5-vl-7b_proj.pt",
            "assets/a.png",
        ];
        assert_eq!(chosen("OPPOer/X2I", &x2i).unwrap(), x2i[..2]);
        let variant = ["model.fp16.safetensors", "config.json"];
        assert_eq!(chosen("a/b", &variant).unwrap(), variant);
    }

    #[test]
    fn of_several_ggufs_the_user_names_one() {
        let files = [
            "m-Q4_K_M.gguf",
            "m-Q8_0-00001-of-00002.gguf",
            "m-Q8_0-00002-of-00002.gguf",
            "mmproj-BF16.gguf",
            "mmproj-F16.gguf",
            "m-imatrix.gguf",
        ];
        let error = chosen("a/b", &files).unwrap_err().to_string();
        assert!(
            error.contains("has 2 models as GGUF (m-Q4_K_M.gguf, m-Q8_0)"),
            "{error}"
        );
        assert_eq!(chosen("a/b:*Q4_K_M*", &files).unwrap(), ["m-Q4_K_M.gguf"]);
        let one = [files[0], files[3], files[4]];
        assert_eq!(chosen("a/b", &one).unwrap(), [files[0], files[4]]);
        let converted = [
            "model.json",
            "encoder.gguf",
            "flux.gguf",
            "vae.gguf",
            "tokenizer.json",
            "scores.png",
        ];
        assert_eq!(chosen("a/b", &converted).unwrap(), converted[..5]);
    }

    #[test]
    fn a_repository_without_weights_is_refused_with_what_it_has() {
        let error = chosen("a/b", &["README.md", "data.parquet"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("hf:a/b: has no weights"), "{error}");
        let error = chosen("a/b:c.gguf", &["d.gguf", "x.md"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "hf:a/b: has no file c.gguf; it has d.gguf and 1 more"
        );
    }
}
