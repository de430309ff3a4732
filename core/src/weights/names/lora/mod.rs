//! The names in LoRA files, as rows of our FLUX's matrices.
//!
//! A key is a module and the part that the tensor plays in its change ([`keys`]). Modules are named by
//! diffusers and PEFT (`transformer.transformer_blocks.0.attn.to_q`), by BFL and ComfyUI
//! (`diffusion_model.double_blocks.0.img_attn.qkv`), by kohya's scripts, OneTrainer and LyCORIS, whose
//! dots are underscores (`lora_unet_double_blocks_0_img_attn_qkv`), and by x-labs
//! (`double_blocks.0.processor.qkv_lora1`). What else such files hold is in [`beside`].

mod beside;
mod keys;

pub(crate) use beside::{Beside, beside, unread_kind};
pub(crate) use keys::{Role, split};

use std::ops::Range;

use super::tables::{FLUX, FLUX_JOINED, Row};
use super::{Component, Layout, Translator};

/// Where a module's change goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Our layer, without `.weight`.
    pub layer: String,
    /// Its rows.
    pub rows: Rows,
}

impl Place {
    /// The name of the layer's weight.
    pub fn weight(&self) -> String {
        let leaf = match self.is_norm() {
            true => "scale",
            false => "weight",
        };
        format!("{}.{leaf}", self.layer)
    }

    /// The name of the layer's bias.
    pub fn bias(&self) -> String {
        format!("{}.bias", self.layer)
    }

    /// True for a norm, whose weight is a vector.
    pub fn is_norm(&self) -> bool {
        self.layer.ends_with("_norm")
    }
}

/// Rows of a layer's matrix `[out, in]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All of them.
    All,
    /// All, of which the file has the second half first.
    HalvesSwapped,
    /// Those of one of so many layers that we keep as one; each but the last gives as many numbers
    /// as it takes.
    Piece { index: usize, of: usize },
    /// Those of queries, keys and values.
    Qkv,
}

impl Rows {
    /// The rows of a matrix of this shape.
    pub fn range(self, [out, input]: [usize; 2]) -> Range<usize> {
        match self {
            Self::All | Self::HalvesSwapped => 0..out,
            Self::Piece { index, of } if index + 1 == of => (index * input).min(out)..out,
            Self::Piece { index, .. } => index * input..(index + 1) * input,
            Self::Qkv => 0..3 * input,
        }
    }

    /// The same rows in the order in which a file has them.
    pub fn of(self, [out, input]: [usize; 2]) -> impl Iterator<Item = usize> {
        let shift = match self {
            Self::HalvesSwapped => out / 2,
            _ => 0,
        };
        self.range([out, input]).map(move |row| (row + shift) % out)
    }
}

/// Where x-labs' processors sit, and the layers of ours that they change.
const X_LABS: &[Row] = &[
    (
        "double_blocks.N.processor.qkv_lora1.*",
        "double_blocks.N.img_attn.qkv.*",
    ),
    (
        "double_blocks.N.processor.qkv_lora2.*",
        "double_blocks.N.txt_attn.qkv.*",
    ),
    (
        "double_blocks.N.processor.proj_lora1.*",
        "double_blocks.N.img_attn.proj.*",
    ),
    (
        "double_blocks.N.processor.proj_lora2.*",
        "double_blocks.N.txt_attn.proj.*",
    ),
    (
        "single_blocks.N.processor.qkv_lora.*",
        "single_blocks.N.linear1.*",
    ),
    (
        "single_blocks.N.processor.proj_lora.*",
        "single_blocks.N.linear2.*",
    ),
];

/// What stands before the names of a transformer's modules.
const PREFIXES: &[&str] = &[
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "unet.",
    "module.",
    "model.",
];

/// What stands before names whose dots are underscores.
const FLAT_PREFIXES: &[&str] = &[
    "lora_unet_",
    "lora_prior_unet_",
    "lora_transformer_",
    "lycoris_",
];

/// A module's name without the prefixes of its file.
pub(crate) fn bare(module: &str) -> &str {
    let mut module = module.trim_end_matches('_');
    while let Some(rest) = PREFIXES
        .iter()
        .find_map(|prefix| module.strip_prefix(prefix))
    {
        module = rest;
    }
    module
}

/// Where a module's change goes; `None` for a module that FLUX has not.
pub(crate) fn place(module: &str) -> Option<Place> {
    let module = bare(module);
    let module = module.strip_suffix(".scale").unwrap_or(module);
    let flat = FLAT_PREFIXES
        .iter()
        .find_map(|prefix| module.strip_prefix(prefix));
    let module = match flat {
        Some(flat) => unflatten(flat)?,
        None => module.to_owned(),
    };
    let translator = Translator::new(Component::Flux, std::iter::empty());
    let name = format!("{module}.weight");
    let x_labs = X_LABS
        .iter()
        .find_map(|row| Some((row.1, translator.matches(row.0, &name)?)));
    if let Some((ours, wild)) = x_labs {
        let only_qkv = ours.ends_with(".linear1.*");
        return Some(Place {
            layer: wild.fill(ours).strip_suffix(".weight")?.to_owned(),
            rows: if only_qkv { Rows::Qkv } else { Rows::All },
        });
    }
    // diffusers kept LoRAs in the attention's processor once, and called its output `to_out`.
    let mut module = module.replace(".processor.", ".");
    if module.ends_with(".to_out") {
        module.push_str(".0");
    }
    // BFL calls the weight of a norm its scale.
    let names = ["weight", "scale"].map(|leaf| format!("{module}.{leaf}"));
    let target = names.iter().find_map(|name| translator.translate(name))?;
    let rows = match (target.pieces.len(), target.layout) {
        (_, Layout::HalvesSwapped) => Rows::HalvesSwapped,
        (1, _) => Rows::All,
        (of, _) => Rows::Piece {
            index: target.index,
            of,
        },
    };
    let layer = target.name.rsplit_once('.')?.0.to_owned();
    Some(Place { layer, rows })
}

/// All modules of a transformer whose weight is a matrix, by their names in diffusers without a prefix; `shape` says what
/// shape one of our tensors has. Left out: the last modulation, whose halves diffusers swaps.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn modules(shape: impl Fn(&str) -> Option<Vec<usize>>) -> Vec<(String, Place)> {
    let rows = FLUX.iter().map(|row| row.0);
    let joined = FLUX_JOINED
        .iter()
        .flat_map(|(pieces, _)| pieces.iter().copied());
    let mut modules = vec![];
    for pattern in rows.chain(joined) {
        let Some(module) = pattern.strip_suffix(".*") else {
            continue; // a norm
        };
        for number in 0.. {
            let name = module.replace(".N.", &format!(".{number}."));
            let found = place(&name).filter(|place| {
                let shape = shape(&place.weight());
                shape.is_some_and(|shape| shape.len() == 2) && place.rows != Rows::HalvesSwapped
            });
            let Some(place) = found else {
                break;
            };
            let is_numbered = name != module;
            modules.push((name, place));
            if !is_numbered {
                break;
            }
        }
    }
    modules
}

/// The module of a flat name, which may name the transformer once more.
fn unflatten(flat: &str) -> Option<String> {
    let flat = flat.trim_matches('_');
    let flat = flat.strip_suffix("_scale").unwrap_or(flat);
    let again = ["transformer_", "unet_", "diffusion_model_"];
    let again = again.iter().filter_map(|prefix| flat.strip_prefix(prefix));
    let names = std::iter::once(flat).chain(again);
    names.into_iter().find_map(|name| match name {
        out if out.ends_with("_to_out") => dotted(&format!("{out}_0")),
        name => dotted(name),
    })
}

/// The module that becomes `flat` when its dots are underscores.
fn dotted(flat: &str) -> Option<String> {
    let rows = FLUX.iter().flat_map(|row| [row.0, row.1]);
    let joined = FLUX_JOINED
        .iter()
        .flat_map(|(pieces, ours)| pieces.iter().copied().chain([*ours]));
    rows.chain(joined)
        .filter_map(|pattern| Some(pattern.rsplit_once('.')?.0))
        .find_map(|module| {
            let Some((before, after)) = module.split_once(".N.") else {
                return (module.replace('.', "_") == flat).then(|| module.to_owned());
            };
            let number = flat
                .strip_prefix(before)?
                .strip_prefix('_')?
                .strip_suffix(&after.replace('.', "_"))?
                .strip_suffix('_')?;
            number
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| format!("{before}.{number}.{after}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn placed(key: &str, layer: &str, rows: Rows, role: Role) {
        let found = split(key).unwrap_or_else(|| panic!("{key} is no LoRA's"));
        assert_eq!(found.role, role, "{key}");
        let expected = Place {
            layer: layer.into(),
            rows,
        };
        assert_eq!(place(found.module), Some(expected), "{key}");
    }

    #[test]
    fn every_naming_of_a_fused_layer_leads_to_its_rows() {
        let qkv = "double_blocks.3.img_attn.qkv";
        let k = Rows::Piece { index: 1, of: 3 };
        placed(
            "transformer.transformer_blocks.3.attn.to_k.lora_A.weight",
            qkv,
            k,
            Role::Down,
        );
        placed(
            "base_model.model.transformer_blocks.3.attn.to_k.lora_B.default.weight",
            qkv,
            k,
            Role::Up,
        );
        placed(
            "lora_transformer_transformer_blocks_3_attn_to_k.lora_up.weight",
            qkv,
            k,
            Role::Up,
        );
        placed(
            "lora_unet_double_blocks_3_img_attn_qkv.alpha",
            qkv,
            Rows::All,
            Role::Alpha,
        );
        placed(
            "diffusion_model.double_blocks.3.img_attn.qkv.lora_down.weight",
            qkv,
            Rows::All,
            Role::Down,
        );
        placed(
            "double_blocks.3.img_attn.qkv.lora_B.bias",
            qkv,
            Rows::All,
            Role::UpBias,
        );
        placed(
            "double_blocks.3.processor.qkv_lora1.up.weight",
            qkv,
            Rows::All,
            Role::Up,
        );
        placed(
            "single_blocks.12.processor.qkv_lora.down.weight",
            "single_blocks.12.linear1",
            Rows::Qkv,
            Role::Down,
        );
        placed(
            "transformer.single_transformer_blocks.12.proj_mlp.lora_B.weight",
            "single_blocks.12.linear1",
            Rows::Piece { index: 3, of: 4 },
            Role::Up,
        );
    }

    #[test]
    fn underscores_find_their_dots_again_whatever_the_layer() {
        for (flat, layer) in [
            ("double_blocks_18_txt_mlp_2", "double_blocks.18.txt_mlp.2"),
            (
                "transformer_blocks_18_ff_context_net_0_proj",
                "double_blocks.18.txt_mlp.0",
            ),
            (
                "single_blocks_37_modulation_lin",
                "single_blocks.37.modulation.lin",
            ),
            (
                "single_transformer_blocks_7_proj_out",
                "single_blocks.7.linear2",
            ),
            ("time_in_in_layer", "time_in.in_layer"),
            (
                "final_layer_adaLN_modulation_1",
                "final_layer.adaLN_modulation.1",
            ),
        ] {
            let found = place(&format!("lora_unet_{flat}")).unwrap_or_else(|| panic!("{flat}"));
            assert_eq!((found.layer.as_str(), found.rows), (layer, Rows::All));
        }
    }

    #[test]
    fn the_halves_of_the_final_modulation_are_swapped_in_diffusers_alone() {
        let rows = |module| place(module).map(|place| place.rows);
        assert_eq!(
            rows("transformer.norm_out.linear"),
            Some(Rows::HalvesSwapped)
        );
        assert_eq!(rows("final_layer.adaLN_modulation.1"), Some(Rows::All));
    }

    #[test]
    fn what_flux_has_not_has_no_place() {
        for module in [
            "",
            "transformer",
            "lora_unet_",
            "lora_unet_double_blocks__img_attn_qkv",
            "lora_unet_double_blocks_x_img_attn_qkv",
            "lora_unet_down_blocks_0_attentions_0_proj_in",
            "double_blocks.0.processor.other_lora1",
            "lora_unet_transformer",
        ] {
            assert_eq!(place(module), None, "{module}");
        }
    }

    #[test]
    fn prefixes_and_underscores_of_every_trainer_are_dropped() {
        let layer = |module| place(module).map(|place| place.layer);
        let qkv = Some("double_blocks.3.img_attn.qkv".to_owned());
        for module in [
            "unet.transformer_blocks.3.attn.to_q",
            "transformer.transformer_blocks.3.attn.processor.to_q",
            "diffusion_model.transformer_blocks.3.attn.to_q",
            "base_model.model.diffusion_model.double_blocks.3.img_attn.qkv",
            "diffusion_model.double_blocks.3.processor.qkv_lora1",
            "lycoris_transformer_blocks_3_attn_to_q",
            "lycoris_double_blocks_3_img_attn_qkv",
            "lora_unet__double_blocks_3_img_attn_qkv_",
            "lora_unet_transformer_transformer_blocks_3_attn_to_q",
            "double_blocks.3.img_attn.qkv_",
        ] {
            assert_eq!(layer(module), qkv, "{module}");
        }
        let proj = Some("double_blocks.3.img_attn.proj".to_owned());
        for module in [
            "unet.transformer_blocks.3.attn.processor.to_out",
            "lora_transformer_transformer_blocks_3_attn_to_out",
        ] {
            assert_eq!(layer(module), proj, "{module}");
        }
    }

    #[test]
    fn norms_are_found_by_every_name() {
        for module in [
            "transformer.transformer_blocks.0.attn.norm_q",
            "diffusion_model.double_blocks.0.img_attn.norm.query_norm",
            "diffusion_model.double_blocks.0.img_attn.norm.query_norm.scale",
            "lora_unet_double_blocks_0_img_attn_norm_query_norm",
            "lora_unet_double_blocks_0_img_attn_norm_query_norm_scale",
        ] {
            let place = place(module).unwrap_or_else(|| panic!("{module}"));
            let tensor = "double_blocks.0.img_attn.norm.query_norm.scale";
            assert_eq!((place.weight().as_str(), place.is_norm()), (tensor, true));
        }
    }

    #[test]
    fn pieces_cover_a_fused_matrix_without_overlap() {
        let rows = |index, of, shape| Rows::Piece { index, of }.range(shape);
        assert_eq!([0, 1, 2].map(|i| rows(i, 3, [12, 4])), [0..4, 4..8, 8..12]);
        assert_eq!(rows(3, 4, [28, 4]), 12..28);
        assert_eq!(Rows::Qkv.range([28, 4]), 0..12);
    }
}
