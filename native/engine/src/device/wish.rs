//! The environment variable `X2I_KERNELS`: which kernels to run instead of those chosen by a device's facts, and which
//! variant of the processor's.
//!
//! For tests, and for drivers that are wrong. Words, separated by commas, in any order.

use std::str::FromStr;

use x2i_core::{CPU_VARIANTS, CpuVariant, Error, Half, Kernels, Result, Units};

use super::precision::Precision;

/// The variable's name.
const VARIABLE: &str = "X2I_KERNELS";

/// What the environment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wish {
    /// A precision, for callers that have no wish of their own.
    precision: Precision,
    units: Option<Units>,
    composed: bool,
    /// On a wgpu device, the products and attention that CUDA runs.
    library: bool,
    /// Kernels are not tried first: for a driver that computes nothing.
    unchecked: bool,
    /// On the CPU.
    cpu: Option<&'static CpuVariant>,
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut wish = Self::default();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "wide" => wish.units = Some(Units::Wide),
                "narrow" => wish.units = Some(Units::Narrow),
                "burn" => wish.composed = true,
                "library" => wish.library = true,
                "unchecked" => wish.unchecked = true,
                _ => match CpuVariant::named(word) {
                    Some(variant) => wish.cpu = Some(variant),
                    None => wish.precision = word.parse().map_err(|_| unknown(word))?,
                },
            }
        }
        Ok(wish)
    }
}

/// The words that there are.
fn unknown(word: &str) -> String {
    let (precisions, variants) = (Precision::FORMS, names(|_| true));
    format!(
        "has `{word}`, expected {precisions}; wide, narrow, burn, library or unchecked; on the CPU {variants}; with \
         commas between"
    )
}

/// The names of some of the processor's variants.
fn names(which: impl Fn(&CpuVariant) -> bool) -> String {
    let variants = CPU_VARIANTS.iter().filter(|variant| which(variant));
    let names: Vec<&str> = variants.map(|variant| variant.name).collect();
    names.join(", ")
}

impl Wish {
    /// That of this process's environment.
    ///
    /// # Errors
    /// [`Error::Device`] for words that are none.
    pub(super) fn of_environment(device: &str) -> Result<Self> {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        text.parse()
            .map_err(|reason| Error::device(device, format!("{VARIABLE} {reason}")))
    }

    /// The caller's precision, or this one where the caller has no wish.
    pub(super) fn precision(self, callers: Precision) -> Precision {
        match callers {
            Precision::Auto => self.precision,
            _ => callers,
        }
    }

    /// The variant of the processor's kernels that is asked for.
    ///
    /// # Errors
    /// [`Error::Device`] for one that this machine can't run.
    pub(super) fn cpu(self) -> Result<Option<&'static CpuVariant>> {
        match self.cpu {
            Some(variant) if !variant.is_here() => Err(Error::device(
                "cpu",
                format!(
                    "{VARIABLE} asks for {}, which this processor has not; it has {}",
                    variant.name,
                    names(CpuVariant::is_here)
                ),
            )),
            variant => Ok(variant),
        }
    }

    /// True where kernels are to be tried first.
    pub(super) fn checks(self) -> bool {
        !self.unchecked
    }

    /// `kernels` with what is asked for.
    pub(super) fn kernels(self, kernels: Kernels) -> Kernels {
        let library = match (self.library, kernels.cooperative) {
            (true, Some(_)) => Some(Half::F16),
            _ => kernels.library,
        };
        Kernels {
            cooperative: kernels.cooperative.filter(|_| !self.library),
            units: self.units,
            composed: self.composed,
            library,
            ..kernels
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_any_order() {
        let wish: Wish = "burn, f32,wide".parse().expect("three words");
        let expected = Wish {
            precision: Precision::F32,
            units: Some(Units::Wide),
            composed: true,
            ..Wish::default()
        };
        assert_eq!(wish, expected);
        assert_eq!("".parse(), Ok(Wish::default()));
    }

    #[test]
    fn a_variant_of_the_processor_is_a_word() {
        let wish: Wish = "plain,f32".parse().expect("two words");
        assert_eq!(
            wish.cpu().expect("every machine has it"),
            Some(&CPU_VARIANTS[0])
        );
        for variant in CPU_VARIANTS.iter().filter(|variant| !variant.is_here()) {
            let wish: Wish = variant.name.parse().expect("a word");
            let message = wish.cpu().unwrap_err().to_string();
            let start = format!(
                "device cpu: X2I_KERNELS asks for {}, which this",
                variant.name
            );
            assert!(message.starts_with(&start), "{message}");
        }
    }

    #[test]
    fn another_word_is_named() {
        let message = "f32,fast".parse::<Wish>().unwrap_err();
        assert!(
            message.starts_with("has `fast`, expected auto"),
            "{message}"
        );
    }

    #[test]
    fn the_callers_precision_comes_first() {
        let wish: Wish = "f32".parse().expect("a word");
        assert_eq!(wish.precision(Precision::F16), Precision::F16);
        assert_eq!(wish.precision(Precision::Auto), Precision::F32);
    }
}
