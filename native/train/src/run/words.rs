//! The words that keys of a run's settings take.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a run trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// AlignNet, by distillation.
    Align,
    /// LightControl.
    Control,
    /// A LoRA of the transformer.
    Lora,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Align => "align",
            Self::Control => "control",
            Self::Lora => "lora",
        })
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }
    };
}

words! {
    /// What changes the parameters.
    OptimizerKind {
        /// AdamW with f32 moments.
        #[default]
        Adamw,
        /// AdamW with moments of 8 bits.
        Adamw8bit,
        /// Muon for matrices, AdamW for the rest.
        Muon,
    }
}

words! {
    /// How the learning rate changes.
    ScheduleKind {
        /// It does not.
        Constant,
        /// It rises, and stays.
        ConstantWithWarmup,
        /// It rises, and falls on a line to 0.
        Linear,
        /// It rises, and falls on half a cosine to 0.
        #[default]
        Cosine,
        /// It rises, stays, and falls on a line.
        Trapezoid,
    }
}

words! {
    /// How AlignNet begins.
    StartKind {
        /// With random numbers.
        #[default]
        Fresh,
        /// The same, but for a mix of AlignNet that is nearly the sum of the language model's first and last layer.
        Ends,
        /// With the model's own.
        Model,
    }
}

words! {
    /// How attention outputs are compared.
    LossKind {
        /// The reference's divergence of softmaxes.
        #[default]
        Divergence,
        /// The mean square of the differences over that of the teacher's.
        Relative,
    }
}

words! {
    /// Which tokens are compared.
    TokensKind {
        /// All.
        #[default]
        All,
        /// Those of the image.
        Image,
    }
}

words! {
    /// Noise levels at which AlignNet is trained.
    NoiseLevel {
        /// Pure noise, as in the reference.
        #[default]
        One,
        /// All alike; needs pictures.
        Uniform,
        /// Those that the steps of a sample begin at, all alike; needs pictures.
        Steps,
    }
}

words! {
    /// What the student's language model reads.
    PromptKind {
        /// What generate makes of a prompt: the model's own form.
        #[default]
        Inference,
        /// X2I's dictionary of its training.
        Training,
    }
}

words! {
    /// Whose hidden states condition the transformer.
    ConditioningKind {
        /// The model's own choice.
        #[default]
        Model,
        /// The prompt's.
        Prompt,
        /// Those of the language model's answer.
        Answer,
    }
}

words! {
    /// Which noise levels of flow matching are drawn how often.
    DensityKind {
        /// All alike.
        #[default]
        Uniform,
        /// The sigmoid of a normal number.
        LogitNormal,
        /// Stable Diffusion 3's mode sampling.
        Mode,
        /// The sigmoid of a normal number, shifted by `shift`.
        Shift,
        /// The same, shifted as FLUX shifts for the picture's size.
        FluxShift,
    }
}

words! {
    /// How much a noise level counts.
    WeightingKind {
        /// All alike.
        #[default]
        None,
        /// The inverse of its square.
        SigmaSqrt,
        /// Most in the middle.
        Cosmap,
    }
}

words! {
    /// Whose names a LoRA's file has.
    FormatKind {
        /// Those of diffusers and PEFT.
        #[default]
        Diffusers,
        /// Those of kohya's scripts, which ComfyUI reads too.
        Kohya,
    }
}
