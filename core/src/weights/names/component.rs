//! The parts of a model.

use std::fmt;

/// A part of a model that has files of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// The FLUX transformer.
    Flux,
    /// The autoencoder.
    Vae,
    /// X2I's AlignNet.
    AlignNet,
    /// The Qwen2.5-VL language and vision model.
    Qwen2_5Vl,
    /// The reference's LightControl, a list of nets.
    LightControl,
    /// The InternVL2.5 language and vision model.
    InternVl2_5,
    /// The MiniCPM-o language, vision and audio model.
    MiniCpmO,
    /// The T5 text encoder of FLUX, which teaches AlignNet.
    T5,
    /// The CLIP text encoder of FLUX, which teaches AlignNet.
    ClipText,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flux => "FLUX transformer",
            Self::Vae => "VAE",
            Self::AlignNet => "AlignNet",
            Self::Qwen2_5Vl => "Qwen2.5-VL model",
            Self::LightControl => "LightControl",
            Self::InternVl2_5 => "InternVL2.5 model",
            Self::MiniCpmO => "MiniCPM-o model",
            Self::T5 => "T5 encoder",
            Self::ClipText => "CLIP text model",
        })
    }
}
