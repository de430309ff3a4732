//! The parity cases: our numbers against the reference implementation's, golden folder by folder.
//!
//! A case reads its files through core's [`ModelSource`], so that one code runs wherever core does:
//! `tests/parity.rs` is the native front, `tests/browser/parity` the browser's. Left out: where the
//! files are, which devices there are, and printing.

mod case;
mod cases;
mod lora;
mod quantized;
mod report;

use burn::tensor::Device;
use x2i_core::model::ModelSource;

use case::Case;
pub use report::Report;

/// The file that makes a folder a case.
pub const GOLDEN: &str = "golden.safetensors";

/// Largest error on the CPU in f32, as a share of the golden tensor's largest value.
const CPU_TOLERANCE: f32 = 1e-4;
/// The same on a GPU, whose `exp`, `sin` and summation order differ.
const GPU_TOLERANCE: f32 = 1e-3;

/// A set of golden folders.
pub struct Goldens<'a> {
    /// Opens a file by its path from the set's root.
    pub source: &'a dyn ModelSource,
    /// Those paths, of all files.
    pub paths: &'a [String],
}

/// A device that cases run on.
pub struct TestDevice {
    /// What reports call it.
    pub label: &'static str,
    /// The burn device.
    pub device: Device,
    tolerance: f32,
    effort: Effort,
}

/// How much of a large case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// All of it.
    Whole,
    /// The sub-case that goes the longest way; the report notes what was left out.
    Brief,
}

impl TestDevice {
    /// A CPU.
    pub fn cpu(label: &'static str, device: Device) -> Self {
        Self {
            label,
            device,
            tolerance: CPU_TOLERANCE,
            effort: Effort::Whole,
        }
    }

    /// A GPU, or what stands in for one.
    pub fn gpu(label: &'static str, device: Device) -> Self {
        Self {
            label,
            device,
            tolerance: GPU_TOLERANCE,
            effort: Effort::Whole,
        }
    }

    /// For a device on which a whole case takes many minutes, such as a GPU emulated by a browser.
    pub fn brief(self) -> Self {
        Self {
            effort: Effort::Brief,
            ..self
        }
    }
}

impl Goldens<'_> {
    /// The folders of all cases, in order.
    pub fn cases(&self) -> Vec<&str> {
        let folders = self.paths.iter().filter_map(|path| {
            let folder = path.strip_suffix(GOLDEN)?.strip_suffix('/')?;
            (!folder.contains('/')).then_some(folder)
        });
        let mut folders: Vec<&str> = folders.collect();
        folders.sort_unstable();
        folders
    }

    /// Runs one case; none where no code knows the folder.
    pub async fn run(&self, name: &str, device: &TestDevice) -> Option<Report> {
        let run = cases::for_folder(name)?;
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
