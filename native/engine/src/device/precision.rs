//! In which floats a device multiplies.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use x2i_core::{Error, Half, Kernels, Result, multiplies};

use super::entry::{DeviceEntry, DeviceKind};

/// The environment variable that overrides [`Precision::Auto`], for tests and for drivers that are wrong.
const OVERRIDE: &str = "X2I_KERNELS";

/// In which floats a device multiplies matrices. Sums, norms, softmax and the sampler are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// bf16 or else f16 where the device has matrix units for it (tensor cores), else f32.
    #[default]
    Auto,
    /// f32.
    F32,
    /// f16, on matrix units.
    F16,
    /// bf16, on matrix units: CUDA alone.
    Bf16,
}

/// The accepted forms, for help and messages.
const FORMS: &str = "auto, f32, f16 or bf16";

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("expected {FORMS}")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// How a device shall multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) precision: Precision,
    /// Burn's kernels instead of ours on a wgpu device: what CUDA runs, where it can be tested.
    library: bool,
    /// Kernels are not tried first: for a driver that computes nothing.
    pub(super) unchecked: bool,
}

impl From<Precision> for Wish {
    fn from(precision: Precision) -> Self {
        Self {
            precision,
            library: false,
            unchecked: false,
        }
    }
}

impl FromStr for Wish {
    type Err = String;

    /// A precision, and words for tests after it: `f16,library`, `bf16,unchecked`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let mut wish = Self::from(words.next().unwrap_or_default().parse::<Precision>()?);
        for word in words {
            match word {
                "library" => wish.library = true,
                "unchecked" => wish.unchecked = true,
                _ => {
                    return Err(format!(
                        "expected {FORMS}, `,library` or `,unchecked` after it"
                    ));
                }
            }
        }
        Ok(wish)
    }
}

impl Precision {
    /// What the environment asks for where the caller has no wish.
    ///
    /// # Errors
    /// [`Error::Device`] for a value that is none.
    pub(super) fn or_environment(self) -> Result<Wish> {
        let set = std::env::var(OVERRIDE).unwrap_or_default();
        if set.is_empty() || self != Self::Auto {
            return Ok(self.into());
        }
        set.parse()
            .map_err(|expected| Error::device(OVERRIDE, format!("is `{set}`, {expected}")))
    }
}

impl Wish {
    /// The kernels of an open device.
    ///
    /// # Errors
    /// [`Error::Device`] for floats that the device can't multiply.
    pub(super) fn kernels(self, entry: &DeviceEntry, device: &Device) -> Result<Kernels> {
        match entry.kind {
            DeviceKind::Cuda => cuda(self.precision, entry, |half| multiplies(device, half)),
            DeviceKind::Cpu | DeviceKind::Wgpu if self.precision == Precision::Bf16 => {
                Err(Error::device(
                    entry.id.clone(),
                    "can't multiply in bf16, which CUDA alone has; take f16 or f32",
                ))
            }
            DeviceKind::Wgpu if self.library && self.precision == Precision::F16 => Ok(Kernels {
                library: Some(Half::F16),
                ..Kernels::default()
            }),
            DeviceKind::Cpu | DeviceKind::Wgpu => shaders(self.precision, entry),
        }
    }
}

/// Emulated matrix units are slower than a CPU's vectors, so that `Auto` leaves them.
fn shaders(precision: Precision, entry: &DeviceEntry) -> Result<Kernels> {
    let side = entry.gpu.as_ref().and_then(|gpu| gpu.matrix_side);
    let cooperative = match (precision, side) {
        (Precision::Auto, side) => side.filter(|_| !entry.software),
        (Precision::F16, Some(side)) => Some(side),
        (Precision::F16, None) => {
            return Err(Error::device(
                entry.id.clone(),
                "has no matrix units for f16 that x2i can use; it computes in f32",
            ));
        }
        (Precision::F32 | Precision::Bf16, _) => None,
    };
    Ok(Kernels {
        cooperative,
        ..Kernels::default()
    })
}

/// `multiplies` tells which floats the device's tensor cores take.
fn cuda(
    precision: Precision,
    entry: &DeviceEntry,
    multiplies: impl Fn(Half) -> bool,
) -> Result<Kernels> {
    let asked = match precision {
        Precision::F32 => None,
        Precision::F16 => Some(Half::F16),
        Precision::Bf16 => Some(Half::Bf16),
        Precision::Auto => [Half::Bf16, Half::F16]
            .into_iter()
            .find(|&half| multiplies(half)),
    };
    match asked {
        Some(half) if !multiplies(half) => Err(Error::device(
            entry.id.clone(),
            format!("has no tensor cores for {precision}; `auto` takes what it has"),
        )),
        library => Ok(Kernels {
            library,
            flash: library.is_some(),
            ..Kernels::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: DeviceKind) -> DeviceEntry {
        DeviceEntry {
            id: format!("{kind:?}:0").to_lowercase(),
            kind,
            index: 0,
            name: "test".into(),
            software: false,
            memory: None,
            gpu: None,
        }
    }

    fn halves(precision: Precision, has: &[Half]) -> Result<Option<Half>> {
        let kernels = cuda(precision, &entry(DeviceKind::Cuda), |half| {
            has.contains(&half)
        })?;
        Ok(kernels.library)
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for form in ["auto", "f32", "f16", "bf16"] {
            let precision = form.parse::<Precision>();
            assert_eq!(
                precision.map(|found| found.to_string()),
                Ok(form.to_owned())
            );
        }
        for form in ["", "BF16", "bf16,library", "half"] {
            assert_eq!(form.parse::<Precision>(), Err(format!("expected {FORMS}")));
        }
    }

    #[test]
    fn cuda_multiplies_in_bf16_then_f16_then_f32() {
        let auto = |has: &[Half]| halves(Precision::Auto, has).ok();
        assert_eq!(
            auto(&[Half::F16, Half::Bf16]),
            Some(Some(Half::Bf16)),
            "Ampere"
        );
        assert_eq!(auto(&[Half::F16]), Some(Some(Half::F16)), "Turing");
        assert_eq!(auto(&[]), Some(None), "Pascal");
        let both = [Half::F16, Half::Bf16];
        assert_eq!(halves(Precision::F16, &both).ok(), Some(Some(Half::F16)));
        assert_eq!(halves(Precision::F32, &both).ok(), Some(None));
        let message = halves(Precision::Bf16, &[Half::F16])
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "device cuda:0: has no tensor cores for bf16; `auto` takes what it has"
        );
    }

    #[test]
    fn bf16_is_refused_where_no_shader_has_it() {
        let device = Device::flex();
        for kind in [DeviceKind::Cpu, DeviceKind::Wgpu] {
            let wish = Wish::from(Precision::Bf16);
            let message = wish.kernels(&entry(kind), &device).unwrap_err().to_string();
            assert!(
                message.ends_with("can't multiply in bf16, which CUDA alone has; take f16 or f32"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_environment_may_ask_for_what_tests_need() {
        let wish: Wish = "f16,library".parse().expect("it is one");
        assert!(wish.library && !wish.unchecked);
        let wish: Wish = "bf16,unchecked".parse().expect("it is one");
        assert!(wish.precision == Precision::Bf16 && wish.unchecked);
        assert!("f16,fast".parse::<Wish>().is_err());
        let kernels = Wish {
            library: true,
            ..Precision::F16.into()
        }
        .kernels(&entry(DeviceKind::Wgpu), &Device::flex());
        assert_eq!(
            kernels.ok().and_then(|kernels| kernels.library),
            Some(Half::F16)
        );
    }
}
