//! The parity cases: our numbers against the reference implementation's, golden folder by folder.
//!
//! A case reads its files through core's [`ModelSource`](x2i_core::model::ModelSource), so that one code runs wherever core does:
//! `tests/parity.rs` is the native front, `tests/browser/parity` the browser's. Not here: where the
//! files are, which devices there are, and printing.

mod case;
mod cases;
mod device;
mod goldens;
mod lora;
mod quantized;
mod repacked;
mod report;

use case::Case;
pub use cases::Work;
pub use device::TestDevice;
pub use goldens::{GOLDEN, Goldens};
pub use report::Report;

impl Goldens<'_> {
    /// What a case asks of the machine; none where no code knows the folder.
    pub fn work(&self, name: &str) -> Option<Work> {
        Some(cases::for_folder(name)?.work)
    }

    /// Runs one case; none where no code knows the folder, or where this build can't do its [`Work`].
    pub async fn run(&self, name: &str, device: &TestDevice) -> Option<Report> {
        let run = cases::for_folder(name)?.run?;
        let mut report = Report::new(name, device.label, device.tolerance);
        let outcome = match Case::open(self, name, device).await {
            Ok(case) => run(&case, &mut report).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            report.fail(error.to_string());
        }
        Some(report)
    }
}
