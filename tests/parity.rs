//! The parity cases natively: on the CPU, and on the first wgpu adapter even if it is software.
//!
//! Golden folders are those under `X2I_GOLDENS`; by default those under `tests/goldens`, and beside
//! the repository, in `../shared/goldens`, the larger ones that it does not hold. A folder that no
//! code knows is listed as skipped, by name. `X2I_SPLIT` names another device, which then gets the second
//! half of every transformer's blocks: `cpu`, or `wgpu:0`, which is opened a second time. Arguments filter cases by substring; `--verbose` prints every
//! tensor.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use burn::tensor::Device;
use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};
use x2i_engine::device::{DeviceChoice, Precision, acquire};
use x2i_engine::models::FolderSource;
use x2i_parity::{Goldens, TestDevice};

/// The tokenizer that other sets may leave out: it is 10 MB and always the same.
const SHARED_TOKENIZER: &str = "_tokenizer_qwen2_5";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|argument| argument == "--verbose");
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let chosen = std::env::var_os("X2I_GOLDENS").map(PathBuf::from);
    let root = chosen.clone().unwrap_or_else(own_goldens);
    let opened = match chosen {
        Some(root) => GoldenFolder::chosen(&root),
        None => GoldenFolder::own(),
    };
    let (source, paths) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("error: {}: {error}", root.display());
            return ExitCode::FAILURE;
        }
    };
    let goldens = Goldens {
        source: &source,
        paths: &paths,
    };
    let mut names = goldens.cases();
    names.retain(|name| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    println!("goldens: {}", root.display());

    let second = match second_device() {
        Ok(second) => second,
        Err(reason) => {
            eprintln!("error: X2I_SPLIT: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let devices = [
        Some(TestDevice::cpu("cpu", Device::flex())),
        acquire(DeviceChoice::Wgpu(None))
            .ok()
            .map(|opened| match opened.precision {
                Precision::F16 => TestDevice::gpu_f16("wgpu f16", opened.device),
                Precision::Auto | Precision::F32 => TestDevice::gpu("wgpu", opened.device),
            }),
    ];
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for device in devices {
        let split = |device: TestDevice| device.split_with(second.clone());
        let Some(device) = &device.map(split) else {
            println!("SKIPPED device wgpu: no adapter found (Debian: mesa-vulkan-drivers)");
            skipped += 1;
            continue;
        };
        for name in &names {
            match pollster::block_on(goldens.run(name, device)) {
                Some(report) => {
                    print!("{report}");
                    if verbose {
                        print!("{}", report.details());
                    }
                    match report.passed() {
                        true => passed += 1,
                        false => failed += 1,
                    }
                }
                None if device.label == "cpu" => {
                    println!("SKIPPED {name}: no code for this case yet");
                    skipped += 1;
                }
                None => {}
            }
        }
    }
    if passed + failed == 0 {
        println!("no case ran");
        failed += 1;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The device that `X2I_SPLIT` names.
fn second_device() -> std::result::Result<Option<Device>, String> {
    let Ok(name) = std::env::var("X2I_SPLIT") else {
        return Ok(None);
    };
    let opened = acquire(name.parse()?).map_err(|error| error.to_string())?;
    Ok(Some(opened.device))
}

fn own_goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// The set beside the repository.
fn beside() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/goldens")
}

/// A set of golden folders on disk, and another that lends it what it lacks.
struct GoldenFolder {
    set: FolderSource,
    lender: Option<FolderSource>,
    /// The folders that are taken from the lender.
    lent: Vec<String>,
}

impl GoldenFolder {
    /// A chosen set, and the paths of all its files.
    fn chosen(root: &Path) -> Result<(Self, Vec<String>)> {
        let opened = Self {
            set: FolderSource::open(root)?,
            lender: Some(FolderSource::open(own_goldens())?),
            lent: vec![SHARED_TOKENIZER.into()],
        };
        Ok((opened, files_below(root)))
    }

    /// The repository's set and what it lacks of the one beside it, and the paths of all files.
    fn own() -> Result<(Self, Vec<String>)> {
        let mut paths = files_below(&own_goldens());
        let own: Vec<String> = paths.iter().map(|path| folder(path).to_owned()).collect();
        let mut other = files_below(&beside());
        other.retain(|path| !own.iter().any(|own| own == folder(path)));
        let mut lent: Vec<String> = other.iter().map(|path| folder(path).to_owned()).collect();
        lent.sort_unstable();
        lent.dedup();
        let opened = Self {
            set: FolderSource::open(own_goldens())?,
            lender: match other.is_empty() {
                true => None,
                false => Some(FolderSource::open(beside())?),
            },
            lent,
        };
        paths.extend(other);
        Ok((opened, paths))
    }
}

/// The first folder of a path.
fn folder(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

impl ModelSource for GoldenFolder {
    fn name(&self) -> &str {
        self.set.name()
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        Box::pin(async move {
            let lent = self.lent.iter().any(|lent| lent == folder(path));
            match (self.set.open(path).await, &self.lender) {
                (Err(Error::MissingFile { .. }), Some(lender)) if lent => lender.open(path).await,
                (opened, _) => opened,
            }
        })
    }
}

/// Paths from `root`, with `/` between parts.
fn files_below(root: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(inside) = path.strip_prefix(root) {
                let parts = inside.iter().map(|part| part.to_string_lossy());
                found.push(parts.collect::<Vec<_>>().join("/"));
            }
        }
    }
    found
}
