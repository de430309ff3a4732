//! Every foreign naming of weights, translated to ours.
//!
//! Ours is the BFL checkpoints' (`flux1-dev.safetensors`, `ae.safetensors`), the X2I reference's
//! for AlignNet and the published checkpoints' for the encoders. Read here: diffusers' for FLUX and
//! the VAE (also the names of attention before diffusers 0.15), `transformers` 4.52's for
//! Qwen2.5-VL and its own form of InternVL (`-hf`), llama.cpp's for Qwen's language model and its vision
//! file (`mmproj`), and the prefixes that all-in-one files, data-parallel training and PEFT put in front.
//! ComfyUI's GGUF files of FLUX have BFL's names, those of T5 llama.cpp's. llama.cpp permutes no rows of Qwen's q and k, as it does
//! for Llama.
//!
//! Names in LoRA files are read in `lora`, by the same tables.

mod component;
pub(crate) mod lora;
mod own;
mod tables;
mod teacher;

pub use component::Component;
use tables::{
    FLUX, FLUX_FINAL_MODULATION, FLUX_JOINED, INTERN_HF, INTERN_HF_JOINED, JoinedRow, QWEN_GGUF,
    QWEN_GGUF_JOINED, QWEN_GGUF_PATCHES, Row, VAE, VAE_HALF,
};

/// How the values of a foreign tensor become ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Unchanged.
    AsStored,
    /// A convolution whose kernel covers its input: `[out, in, ..]` is flattened to `[out, rest]`.
    Matrix,
    /// diffusers stores (scale, shift), BFL (shift, scale).
    HalvesSwapped,
    /// A convolution over frames as one `[out, in, height, width]` for each frame: the frames of an
    /// input channel stand together, and the kernel is flattened.
    Interleaved,
}

/// Where a foreign tensor belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Our name.
    pub(super) name: String,
    /// The foreign names of all pieces that make it, along the first axis unless `layout` says
    /// otherwise.
    pub(super) pieces: Vec<String>,
    /// Which of the pieces this one is.
    pub(super) index: usize,
    /// What happens to the values.
    pub(super) layout: Layout,
}

/// Translates the names of one set of files.
pub(super) struct Translator {
    component: Component,
    /// Whether all of the part's names have something in front; others are then another part's.
    wrapped: bool,
    /// How many `decoder.up_blocks` a diffusers VAE has.
    up_blocks: usize,
    /// Whether T5's embedding is there under a name of its own.
    embedded: bool,
}

impl Translator {
    /// Looks at all names once, since diffusers counts a decoder's blocks from the other end.
    pub(super) fn new<'a>(component: Component, names: impl Iterator<Item = &'a str>) -> Self {
        let names = names.collect::<Vec<_>>();
        let up_block = |name: &&str| {
            let rest = strip(component, name).strip_prefix("decoder.up_blocks.")?;
            rest.split('.').next()?.parse::<usize>().ok()
        };
        let last = names.iter().filter_map(up_block).max();
        let embedding = |name: &&str| teacher::T5_EMBEDDING.contains(&strip(component, name));
        let mut translator = Self {
            component,
            wrapped: false,
            up_blocks: last.map_or(0, |last| last.saturating_add(1)),
            embedded: component == Component::T5 && names.iter().any(embedding),
        };
        let bare = |name: &str| strip(component, name).len() == name.len();
        let own_and_bare = |&name: &&str| bare(name) && translator.translate(name).is_some();
        translator.wrapped =
            !names.iter().all(|&name| bare(name)) && !names.iter().any(own_and_bare);
        translator
    }

    /// True for a name that may be this part's: nothing says that it is another one's.
    pub(super) fn may_own(&self, foreign: &str) -> bool {
        let name = strip(self.component, foreign);
        let bare = self.wrapped && name.len() == foreign.len();
        let again = self.embedded && name == teacher::T5_TIED;
        !bare && !again && !own::is_foreign(self.component, name) && !own::is_harmless(name)
    }

    /// Which other model a name of no part of ours tells.
    pub(super) fn other_model(&self, foreign: &str) -> Option<&'static str> {
        own::other_model(self.component, strip(self.component, foreign))
    }

    /// Where the tensor belongs; `None` when it is no part of this component.
    pub(super) fn translate(&self, foreign: &str) -> Option<Target> {
        let name = strip(self.component, foreign);
        match self.component {
            Component::Flux => self.flux(name),
            Component::Vae => self.vae(name),
            Component::AlignNet => self.own(&[own::ALIGN_NET], name),
            Component::Qwen2_5Vl => self.qwen2_5_vl(name),
            Component::LightControl => self.own(&[own::LIGHT_CONTROL], name),
            Component::T5 => self.t5(name),
            Component::ClipText => self.own(&[teacher::CLIP_TEXT], name),
            Component::InternVl2_5 => self.intern_vl(name),
            Component::MiniCpmO => {
                let llm = name.strip_prefix("llm.");
                self.encoder(llm, own::MINICPM_SENSES, name)
            }
        }
    }

    /// A name that is ours as it is.
    fn own(&self, tables: &[&[&str]], name: &str) -> Option<Target> {
        let mut patterns = tables.iter().copied().flatten();
        let known = patterns.any(|pattern| self.matches(pattern, name).is_some());
        known.then(|| whole(name.to_owned(), name))
    }

    fn t5(&self, name: &str) -> Option<Target> {
        let ours = match self.look_up(teacher::T5_GGUF, name) {
            Some((row, wild)) => wild.fill(row.1),
            None if name == teacher::T5_TIED => teacher::T5_EMBEDDING[0].to_owned(),
            None => name.to_owned(),
        };
        self.own(&[teacher::T5], &ours)?;
        Some(whole(ours, name))
    }

    /// A published name of InternVL2.5 or MiniCPM-o, which is ours: of its decoder, there called
    /// `llm`, or of its `senses`.
    fn encoder(&self, llm: Option<&str>, senses: &[&str], name: &str) -> Option<Target> {
        let known = match llm {
            Some(llm) => self.own(&[own::QWEN2], llm),
            None => self.own(&[senses], name),
        };
        known?;
        let mut target = whole(name.to_owned(), name);
        // A convolution without overlap.
        if name.ends_with(".patch_embedding.weight") {
            target.layout = Layout::Matrix;
        }
        Some(target)
    }

    /// The published name, or transformers' own: before 4.52 with parts in front, later with `model.` before
    /// these. Pieces keep what stands in front of them.
    fn intern_vl(&self, foreign: &str) -> Option<Target> {
        const PARTS: [&str; 2] = ["vision_tower.", "multi_modal_projector."];
        let inner = foreign.strip_prefix("model.");
        let inner = inner.filter(|inner| PARTS.iter().any(|part| inner.starts_with(part)));
        let name = inner.unwrap_or(foreign);
        let before = &foreign[..foreign.len() - name.len()];
        if let Some(mut target) = self.joined(INTERN_HF_JOINED, name) {
            target
                .pieces
                .iter_mut()
                .for_each(|piece| piece.insert_str(0, before));
            return Some(target);
        }
        let ours = if let Some(rest) = name.strip_prefix("model.language_model.") {
            format!("language_model.model.{rest}")
        } else if name == "lm_head.weight" {
            format!("language_model.{name}")
        } else if let Some((row, wild)) = self.look_up(INTERN_HF, name) {
            wild.fill(row.1)
        } else {
            name.to_owned()
        };
        let llm = ours.strip_prefix("language_model.");
        let mut target = self.encoder(llm, own::INTERN_VISION, &ours)?;
        target.pieces = vec![foreign.to_owned()];
        Some(target)
    }

    fn flux(&self, name: &str) -> Option<Target> {
        if let Some(target) = self.joined(FLUX_JOINED, name) {
            return Some(target);
        }
        let (row, wild) = self.look_up(FLUX, name)?;
        let mut target = whole(wild.fill(row.1), name);
        // Our own names are found in the table's right side, and are not swapped.
        if row.1 == FLUX_FINAL_MODULATION && target.name != name {
            target.layout = Layout::HalvesSwapped;
        }
        Some(target)
    }

    fn vae(&self, name: &str) -> Option<Target> {
        let (half, rest) = name.split_once('.')?;
        let ours = if let Some((row, wild)) = self.look_up(VAE, name) {
            wild.fill(row.1)
        } else {
            let (row, wild) = self.look_up(VAE_HALF, rest)?;
            matches!(half, "encoder" | "decoder").then(|| format!("{half}.{}", wild.fill(row.1)))?
        };
        let mut target = whole(ours, name);
        // BFL keeps the attention's projections as 1x1 convolutions.
        if target.name.contains(".attn_1.") {
            target.layout = Layout::Matrix;
        }
        Some(target)
    }

    fn qwen2_5_vl(&self, name: &str) -> Option<Target> {
        let (frames, ours) = QWEN_GGUF_PATCHES;
        if let Some(index) = frames.iter().position(|frame| *frame == name) {
            return Some(Target {
                name: ours.to_owned(),
                pieces: frames.iter().map(|&frame| frame.to_owned()).collect(),
                index,
                layout: Layout::Interleaved,
            });
        }
        if let Some(target) = self.joined(QWEN_GGUF_JOINED, name) {
            return Some(target);
        }
        let ours = if let Some(rest) = name.strip_prefix("model.language_model.") {
            format!("model.{rest}")
        } else if let Some(rest) = name.strip_prefix("model.visual.") {
            format!("visual.{rest}")
        } else if let Some((row, wild)) = self.look_up(QWEN_GGUF, name) {
            wild.fill(row.1)
        } else {
            name.to_owned()
        };
        self.own(&[own::QWEN2, own::QWEN_VISION], &ours)?;
        let mut target = whole(ours, name);
        // A 3-d convolution without overlap; GGUF has no room for its fifth axis.
        if target.name == QWEN_GGUF_PATCHES.1 {
            target.layout = Layout::Matrix;
        }
        Some(target)
    }

    /// The tensor that has this one as a piece, or is this one.
    fn joined(&self, rows: &[JoinedRow], name: &str) -> Option<Target> {
        for (pieces, ours) in rows {
            for (index, piece) in pieces.iter().enumerate() {
                if let Some(wild) = self.matches(piece, name) {
                    return Some(Target {
                        name: wild.fill(ours),
                        pieces: pieces.iter().map(|piece| wild.fill(piece)).collect(),
                        index,
                        layout: Layout::AsStored,
                    });
                }
            }
            if self.matches(ours, name).is_some() {
                return Some(whole(name.to_owned(), name));
            }
        }
        None
    }

    /// The row whose foreign or own side is this name.
    fn look_up<'n>(&self, rows: &'static [Row], name: &'n str) -> Option<(&'static Row, Wild<'n>)> {
        rows.iter().find_map(|row| {
            let wild = self
                .matches(row.0, name)
                .or_else(|| self.matches(row.1, name))?;
            Some((row, wild))
        })
    }

    /// Matches a name with a pattern, segment by segment.
    fn matches<'n>(&self, pattern: &str, name: &'n str) -> Option<Wild<'n>> {
        let mut wild = Wild::default();
        let mut segments = name.split('.');
        for expected in pattern.split('.') {
            let segment = segments.next()?;
            let number = || {
                segment
                    .parse::<usize>()
                    .ok()
                    .filter(|n| n.to_string() == segment)
            };
            match expected {
                "N" | "R" => {
                    let number = number()?;
                    // Without foreign blocks the name is our own and goes back as it came.
                    let other = self.up_blocks.checked_sub(number.saturating_add(1));
                    (wild.n, wild.r) = if expected == "N" {
                        (Some(number), other)
                    } else {
                        (other, Some(number))
                    };
                }
                "M" => wild.m = Some(number()?),
                "*" if matches!(segment, "weight" | "bias") => wild.leaf = segment,
                _ if expected == segment => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(wild)
    }
}

/// What a pattern's placeholders stood for.
#[derive(Default)]
struct Wild<'n> {
    n: Option<usize>,
    m: Option<usize>,
    r: Option<usize>,
    leaf: &'n str,
}

impl Wild<'_> {
    /// Puts them into another pattern.
    fn fill(&self, pattern: &str) -> String {
        let number = |n: Option<usize>| n.unwrap_or_default().to_string();
        let segments = pattern.split('.').map(|segment| match segment {
            "N" => number(self.n),
            "M" => number(self.m),
            "R" => number(self.r),
            "*" => self.leaf.to_owned(),
            literal => literal.to_owned(),
        });
        segments.collect::<Vec<_>>().join(".")
    }
}

fn whole(ours: String, foreign: &str) -> Target {
    Target {
        name: ours,
        pieces: vec![foreign.to_owned()],
        index: 0,
        layout: Layout::AsStored,
    }
}

/// Removes what all-in-one files, data-parallel training and PEFT put in front of a component's names.
fn strip(component: Component, name: &str) -> &str {
    let prefixes: &[&str] = match component {
        Component::Flux => &["module.", "model.diffusion_model.", "diffusion_model."],
        Component::Vae => &["module.", "first_stage_model.", "vae."],
        Component::Qwen2_5Vl | Component::InternVl2_5 | Component::MiniCpmO => {
            &["module.", "base_model.model."]
        }
        Component::AlignNet | Component::LightControl => &["module."],
        Component::T5 => teacher::T5_PREFIXES,
        Component::ClipText => teacher::CLIP_PREFIXES,
    };
    let mut name = name;
    while let Some(rest) = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}
