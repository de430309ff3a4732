//! Opens a GPU with kernels that give the right numbers there.
//!
//! A driver may refuse a feature that it offers, or compile a rare instruction wrongly. So a device is tried on a
//! small product and a small attention before anything runs on it; where it fails, it is opened once more, with
//! simpler kernels: a device that has failed once is not used again.

use x2i_core::{
    Error, KernelCheck, Kernels, Result, check_kernels, choose_kernels, kernels_agree, multiplies,
};

use super::entry::{DeviceEntry, DeviceKind};
use super::opened::OpenDevice;
use super::precision::Precision;
use super::wish::Wish;
use super::{cuda, gpu};

/// Opens a GPU for a precision. Where it can't have the kernels for it, [`OpenDevice::warning`] says so.
///
/// # Errors
/// [`Error::Device`] where it can't be opened, does not have the precision, or is wrong whatever is tried.
pub(super) fn open(entry: &DeviceEntry, precision: Precision) -> Result<OpenDevice> {
    let wish = Wish::of_environment(&entry.id)?;
    let chosen = wish.kernels(chosen(entry, wish.precision(precision))?);
    let (mut opened, warning) = first_right(chosen, |kernels| {
        let opened = open_with(entry, kernels)?;
        match wish.checks() {
            true => checked(opened),
            false => Ok(opened),
        }
    })?;
    opened.warning = warning.map(|warning| format!("{}: {warning}", entry.id));
    Ok(opened)
}

/// The kernels for a precision.
fn chosen(entry: &DeviceEntry, precision: Precision) -> Result<Kernels> {
    if entry.kind != DeviceKind::Cuda {
        return precision.kernels(entry, |_| false);
    }
    // What tensor cores multiply is known once the device is open, and one that does not open panics.
    let opened = cuda::open(entry)?;
    opened.guard(|| precision.kernels(entry, |half| multiplies(&opened.device, half)))
}

/// What `attempt` gives with the first kernels that it does not refuse, and what is lost with them.
fn first_right<T>(
    chosen: Kernels,
    mut attempt: impl FnMut(Kernels) -> Result<T>,
) -> Result<(T, Option<String>)> {
    let mut refused: Option<Error> = None;
    for kernels in simpler(chosen) {
        match attempt(kernels) {
            Ok(given) => {
                let reason = refused.map_or(String::new(), |error| format!(" ({error})"));
                let warning = lost(chosen, kernels).map(|lost| format!("{lost}{reason}"));
                return Ok((given, warning));
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.expect("at least one was tried"))
}

/// Opens a GPU and tries every operation that has a kernel of its own.
///
/// # Errors
/// As [`acquire_with`](super::acquire_with), and [`Error::Device`] where the device fails.
pub fn check(entry: &DeviceEntry, precision: Precision) -> Result<Vec<KernelCheck>> {
    let opened = open(entry, precision)?;
    let device = opened.device.clone();
    opened.guard(|| Ok(check_kernels(&device)))
}

/// What a user misses with `kernels` instead of those that were chosen.
fn lost(chosen: Kernels, kernels: Kernels) -> Option<&'static str> {
    match (kernels.composed, Precision::of(kernels)) {
        _ if kernels == chosen => None,
        (true, _) => Some("x2i's kernels can't be used there, burn's are"),
        (_, Precision::F32) => {
            Some("the driver's matrix units can't be used, x2i computes in f32 there")
        }
        _ => Some("attention in one kernel can't be used there, it is slower"),
    }
}

/// These kernels, then those that are easier to compile.
fn simpler(kernels: Kernels) -> Vec<Kernels> {
    let two_products = Kernels {
        flash: false,
        ..kernels
    };
    let f32 = Kernels {
        cooperative: None,
        library: None,
        ..two_products
    };
    let composed = Kernels {
        composed: true,
        ..f32
    };
    let mut all = vec![kernels, two_products, f32, composed];
    all.dedup();
    all
}

fn open_with(entry: &DeviceEntry, kernels: Kernels) -> Result<OpenDevice> {
    let mut opened = match entry.kind {
        DeviceKind::Cuda => cuda::open(entry)?,
        _ => gpu::open(entry, kernels.cooperative.is_some())?,
    };
    choose_kernels(&opened.device, kernels);
    opened.precision = Precision::of(kernels);
    Ok(opened)
}

/// The device, if its kernels are right on small cases.
fn checked(opened: OpenDevice) -> Result<OpenDevice> {
    let device = opened.device.clone();
    match opened.guard(|| Ok(kernels_agree(&device))) {
        Ok(true) => Ok(opened),
        Ok(false) => Err(Error::device(opened.entry.id, "gives wrong results")),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use x2i_core::Half;

    use super::*;

    #[test]
    fn each_kernel_that_is_tried_is_simpler_than_the_last() {
        let matrices = Kernels {
            cooperative: Some(16),
            ..Kernels::default()
        };
        let composed = Kernels {
            composed: true,
            ..Kernels::default()
        };
        let tried = simpler(matrices);
        assert_eq!(tried, [matrices, Kernels::default(), composed]);
        let library = Kernels {
            library: Some(Half::Bf16),
            flash: true,
            ..Kernels::default()
        };
        let two_products = Kernels {
            flash: false,
            ..library
        };
        let expected = [library, two_products, Kernels::default(), composed];
        assert_eq!(simpler(library), expected);
        assert_eq!(simpler(composed), [composed]);
        assert_eq!(lost(matrices, matrices), None);
        assert!(
            tried[1..]
                .iter()
                .all(|kernels| lost(matrices, *kernels).is_some())
        );
    }

    /// What becomes of kernels on matrix units, on a device that is right with those that `right` names.
    fn on_a_device(right: fn(Kernels) -> bool) -> Result<(Kernels, Option<String>)> {
        let chosen = Kernels {
            cooperative: Some(16),
            ..Kernels::default()
        };
        first_right(chosen, |kernels| match right(kernels) {
            true => Ok(kernels),
            false => Err(Error::device("wgpu:0", "gives wrong results")),
        })
    }

    #[test]
    fn a_device_that_is_wrong_gets_simpler_kernels_and_a_warning() {
        let (kernels, warning) = on_a_device(|_| true).expect("it is right");
        assert_eq!((kernels.cooperative, warning), (Some(16), None));

        let in_f32 = on_a_device(|kernels| kernels.cooperative.is_none());
        let (kernels, warning) = in_f32.expect("it is right in f32");
        assert_eq!(kernels, Kernels::default());
        let warning = warning.unwrap_or_default();
        assert!(
            warning.contains("computes in f32") && warning.contains("gives wrong results"),
            "{warning}"
        );

        let (kernels, warning) = on_a_device(|kernels| kernels.composed).expect("burn is right");
        assert!(kernels.composed && warning.unwrap_or_default().contains("burn's are"));

        let error = on_a_device(|_| false).unwrap_err();
        assert!(error.to_string().contains("gives wrong results"), "{error}");
    }
}
