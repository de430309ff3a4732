//! Names of devices: `auto`, `cpu`, `wgpu:0`, `cuda:1`.

use std::fmt;
use std::str::FromStr;

use super::entry::names;
use super::list::list;

/// Which device to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best hardware GPU, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU adapter of wgpu: the one with this index, or the best.
    Wgpu(Option<usize>),
    /// An NVIDIA GPU through CUDA: the one with this index, or the first.
    Cuda(Option<usize>),
}

/// The accepted forms, for help and messages.
const FORMS: &str = "auto, cpu, wgpu[:index] or cuda[:index]";

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = match text.split_once(':') {
            None => (text, Some(None)),
            Some((kind, index)) => (kind, index.parse().ok().map(Some)),
        };
        match (kind, index) {
            ("auto", Some(None)) => Ok(Self::Auto),
            ("cpu", Some(None)) => Ok(Self::Cpu),
            ("wgpu", Some(index)) => Ok(Self::Wgpu(index)),
            ("cuda", Some(index)) => Ok(Self::Cuda(index)),
            _ => Err(format!(
                "expected {FORMS}; this machine has {}",
                names(&list())
            )),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, index) = match self {
            Self::Auto => ("auto", None),
            Self::Cpu => ("cpu", None),
            Self::Wgpu(index) => ("wgpu", *index),
            Self::Cuda(index) => ("cuda", *index),
        };
        match index {
            None => f.write_str(kind),
            Some(index) => write!(f, "{kind}:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for form in ["auto", "cpu", "wgpu", "wgpu:0", "wgpu:12", "cuda", "cuda:1"] {
            assert_eq!(
                form.parse::<DeviceChoice>()
                    .map(|choice| choice.to_string()),
                Ok(form.to_owned())
            );
        }
    }

    #[test]
    fn other_forms_are_refused_with_the_forms_and_the_devices() {
        for form in [
            "", "gpu", "wgpu:", "wgpu:x", "wgpu:-1", "cpu:0", "auto:1", "WGPU",
        ] {
            let message = form.parse::<DeviceChoice>().unwrap_err();
            assert!(
                message.contains(FORMS) && message.contains("this machine has cpu"),
                "{message}"
            );
        }
    }
}
