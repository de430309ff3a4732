//! In which floats a device multiplies.

use std::fmt;
use std::str::FromStr;

use x2i_core::{Error, Half, Kernels, Result};

use super::entry::{DeviceEntry, DeviceKind};

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

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("expected {}", Self::FORMS)),
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

impl Precision {
    /// The accepted forms, for help and messages.
    pub(super) const FORMS: &str = "auto, f32, f16 or bf16";

    /// The kernels of a device. `multiplies` tells which floats the tensor cores of a device of CUDA take.
    ///
    /// # Errors
    /// [`Error::Device`] for floats that the device can't multiply.
    pub(super) fn kernels(
        self,
        entry: &DeviceEntry,
        multiplies: impl Fn(Half) -> bool,
    ) -> Result<Kernels> {
        match (entry.kind, self) {
            (DeviceKind::Cuda, _) => cuda(self, entry, multiplies),
            (DeviceKind::Cpu | DeviceKind::Wgpu, Self::Bf16) => Err(Error::device(
                entry.id.clone(),
                "can't multiply in bf16, which CUDA alone has; take f16 or f32",
            )),
            (DeviceKind::Cpu | DeviceKind::Wgpu, _) => shaders(self, entry),
        }
    }

    /// The one that these kernels multiply in.
    pub(super) fn of(kernels: Kernels) -> Self {
        match kernels.cooperative.map(|_| Half::F16).or(kernels.library) {
            Some(Half::F16) => Self::F16,
            Some(Half::Bf16) => Self::Bf16,
            None => Self::F32,
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
            free: None,
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
            assert!(form.parse::<Precision>().is_err(), "{form}");
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
        for kind in [DeviceKind::Cpu, DeviceKind::Wgpu] {
            let kernels = Precision::Bf16.kernels(&entry(kind), |_| true);
            let message = kernels.unwrap_err().to_string();
            assert!(
                message.ends_with("can't multiply in bf16, which CUDA alone has; take f16 or f32"),
                "{message}"
            );
        }
    }
}
