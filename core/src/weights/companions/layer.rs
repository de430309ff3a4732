//! The companions of one layer, by what they are to it.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::weights::file::WeightFile;
use crate::weights::place::Place;

/// What a companion is to its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// bitsandbytes' description of numbers of four bits.
    State,
    /// The largest magnitude of each block of those.
    Absmax,
    /// The values of the numbers.
    Map,
    NestedAbsmax,
    NestedMap,
    /// The largest magnitudes of LLM.int8's rows.
    Scb,
    WeightFormat,
    /// The numbers of AWQ and GPTQ.
    Qweight,
    Qzeros,
    Scales,
    /// The numbers of compressed-tensors' packed formats.
    Packed,
    PackedShape,
    /// ComfyUI's name of the format.
    Format,
    /// What the numbers are multiplied with.
    Scale,
    /// The same under ComfyUI's older name.
    ComfyScale,
    /// The same of blocks, under DeepSeek's name.
    BlockScale,
    /// What is subtracted from the numbers first.
    Zero,
    /// A scale of inputs, outputs or caches: products of 8 bits need it, floats do not.
    Input,
    /// A part of a format that is not read, and which.
    Unread(&'static str),
}

/// Endings of names. Longer ones come before those that they end with.
pub(super) const ROLES: &[(&str, Role)] = &[
    (".weight.absmax", Role::Absmax),
    (".weight.quant_map", Role::Map),
    (".weight.nested_absmax", Role::NestedAbsmax),
    (".weight.nested_quant_map", Role::NestedMap),
    (".weight.quant_state.bitsandbytes__nf4", Role::State),
    (".weight.quant_state.bitsandbytes__fp4", Role::State),
    (".SCB", Role::Scb),
    (".weight_format", Role::WeightFormat),
    (".qweight", Role::Qweight),
    (".qzeros", Role::Qzeros),
    (".scales", Role::Scales),
    (
        ".g_idx",
        Role::Unread("a part of GPTQ's format, which is not read; AWQ is"),
    ),
    (".weight_packed", Role::Packed),
    (".weight_shape", Role::PackedShape),
    (".comfy_quant", Role::Format),
    (".weight_scale_inv", Role::BlockScale),
    (".weight_scale", Role::Scale),
    (".scale_weight", Role::ComfyScale),
    (".weight_zero_point", Role::Zero),
    (".input_scale", Role::Input),
    (".scale_input", Role::Input),
    (".input_zero_point", Role::Input),
    (".activation_scale", Role::Input),
    (".output_scale", Role::Input),
    (".q_scale", Role::Input),
    (".k_scale", Role::Input),
    (".v_scale", Role::Input),
    (".weight_scale_2", Role::Unread(NVFP4)),
    (".weight_global_scale", Role::Unread(NVFP4)),
    (".input_global_scale", Role::Unread(NVFP4)),
    (
        ".weight_g_idx",
        Role::Unread("an order of columns (activation ordering), which is not read"),
    ),
    (".bitmask", Role::Unread(SPARSE)),
    (".compressed", Role::Unread(SPARSE)),
    (".row_offsets", Role::Unread(SPARSE)),
    (
        ".weight_scales",
        Role::Unread("a part of EETQ's format, which is not read"),
    ),
    (".weight._data", Role::Unread(QUANTO)),
    (".weight._scale", Role::Unread(QUANTO)),
    (
        ".W_q",
        Role::Unread("a part of HQQ's format, which is not read"),
    ),
    (".wscales", Role::Unread(NUNCHAKU)),
    (".wtscale", Role::Unread(NUNCHAKU)),
    (".wcscales", Role::Unread(NUNCHAKU)),
    (".smooth_factor", Role::Unread(NUNCHAKU)),
    (".smooth_factor_orig", Role::Unread(NUNCHAKU)),
    ("._weight_qdata", Role::Unread(TORCHAO)),
    ("._weight_scale", Role::Unread(TORCHAO)),
];

const NVFP4: &str =
    "a part of the NVFP4 format, which is not read; take the file in bf16, FP8 or GGUF (Q4_K)";
const SPARSE: &str = "a part of a sparse format, which is not read";
const QUANTO: &str = "a part of quanto's format, which is not read";
const NUNCHAKU: &str = "a part of SVDQuant's format (nunchaku), which is not read";
const TORCHAO: &str = "a part of torchao's format, which is not read";

/// A layer's weight and what stands beside it.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// `NAME.weight`
    pub(super) weight: Option<Place>,
    pub(super) parts: BTreeMap<Role, Place>,
}

impl Layer {
    /// A companion of a format that is not read, and which.
    pub(super) fn unread(&self) -> Option<(&'static str, &Place)> {
        self.parts.iter().find_map(|(role, place)| match role {
            Role::Unread(why) => Some((*why, place)),
            _ => None,
        })
    }

    /// Takes a companion, which is then used.
    pub(super) fn take(&mut self, role: Role) -> Option<Place> {
        self.parts.remove(&role)
    }

    /// Takes one that has to be there; `beside` is one that is.
    ///
    /// # Errors
    /// [`crate::Error::Format`] saying what `beside` lacks.
    pub(super) fn need(
        &mut self,
        files: &[WeightFile],
        role: Role,
        beside: &Place,
    ) -> Result<Place> {
        let ending = ROLES.iter().find(|(_, other)| *other == role);
        let ending = ending.map_or("weight", |(ending, _)| ending);
        self.take(role).ok_or_else(|| {
            let reason = format!("has no `*{ending}` beside it, by which it is read");
            beside.refuse(files, reason)
        })
    }

    /// The weight that has to be there.
    ///
    /// # Errors
    /// [`crate::Error::Format`] saying that `beside` stands alone.
    pub(super) fn need_weight(&self, files: &[WeightFile], beside: &Place) -> Result<Place> {
        let alone = || beside.refuse(files, "has no weight beside it");
        self.weight.clone().ok_or_else(alone)
    }
}
