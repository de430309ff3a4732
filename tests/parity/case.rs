//! One golden folder: its tensors, its JSON files and the device to run on.

use std::error::Error;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use x2i::device::DeviceChoice;
use x2i::source::FolderSource;
use x2i_core::weights::{Component, HostTensor, StoredType, WeightFile, Weights, quant};

/// What a case returns when it can't run at all.
pub type Outcome = Result<(), Box<dyn Error>>;

/// A device that the cases run on, or the reason why not.
pub enum DeviceUnderTest {
    /// An opened device; `label` is `cpu` or `wgpu`.
    Present {
        /// `cpu` or `wgpu`.
        label: &'static str,
        /// The burn device.
        device: Device,
    },
    /// No adapter on this machine.
    Absent,
}

impl DeviceUnderTest {
    /// The CPU, and the first wgpu adapter even if it is software.
    pub fn all() -> Vec<Self> {
        let cpu = Self::Present {
            label: "cpu",
            device: Device::flex(),
        };
        let wgpu = match x2i::device::open(&DeviceChoice::Wgpu(None)) {
            Ok(device) => Self::Present {
                label: "wgpu",
                device,
            },
            Err(_) => Self::Absent,
        };
        vec![cpu, wgpu]
    }
}

/// One golden folder on one device.
pub struct Case {
    pub dir: PathBuf,
    pub golden: Golden,
    pub device: Device,
}

impl Case {
    pub fn open(dir: PathBuf, device: &DeviceUnderTest) -> Result<Self, Box<dyn Error>> {
        let DeviceUnderTest::Present { device, .. } = device else {
            return Err("no device".into());
        };
        let golden = Golden::open(&dir.join("golden.safetensors"))?;
        Ok(Self {
            dir,
            golden,
            device: device.clone(),
        })
    }

    /// A JSON file of the case.
    pub fn json(&self, file: &str) -> Result<Value, Box<dyn Error>> {
        let path = self.dir.join(file);
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// A folder or file beside or below the case (`..` allowed).
    pub fn sibling(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// The case's folder as a model source.
    pub fn source(&self) -> Result<FolderSource, Box<dyn Error>> {
        Ok(FolderSource::open(&self.dir)?)
    }

    /// The weights of `files` inside the case.
    pub fn weights(&self, component: Component, files: &[&str]) -> Result<Weights, Box<dyn Error>> {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        Ok(pollster::block_on(x2i_core::model::open_weights(
            &self.source()?,
            component,
            &files,
        ))?)
    }

    /// A golden tensor on the device.
    pub fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>, Box<dyn Error>> {
        let (values, shape) = self.golden.f32(name)?;
        if shape.len() != D {
            return Err(format!("{name} has {} axes, not {D}", shape.len()).into());
        }
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }

    /// The values of one of our tensors.
    pub fn values<const D: usize>(&self, tensor: Tensor<D>) -> Result<Vec<f32>, Box<dyn Error>> {
        let data = pollster::block_on(tensor.into_data_async())?;
        Ok(data
            .try_to_vec::<f32>()
            .map_err(|error| format!("{error:?}"))?)
    }
}

/// The tensors of a `golden.safetensors`.
pub struct Golden {
    file: WeightFile,
}

impl Golden {
    pub fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let folder = path.parent().ok_or("no folder")?;
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or("no file name")?;
        let source = FolderSource::open(folder)?;
        let file = pollster::block_on(async {
            use x2i_core::model::ModelSource;
            WeightFile::open(source.open(name).await?).await
        })?;
        Ok(Self { file })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.file.tensors().contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file.tensors().keys().map(String::as_str)
    }

    pub fn f32(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>), Box<dyn Error>> {
        let tensor = self.read(name)?;
        Ok((
            quant::dequantize(&tensor.bytes, tensor.stored),
            tensor.shape,
        ))
    }

    pub fn i64(&self, name: &str) -> Result<(Vec<i64>, Vec<usize>), Box<dyn Error>> {
        let tensor = self.read(name)?;
        if tensor.stored != StoredType::I64 {
            return Err(format!("{name} is {:?}, not I64", tensor.stored).into());
        }
        let values = tensor
            .bytes
            .chunks_exact(8)
            .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        Ok((values.collect(), tensor.shape))
    }

    pub fn u8(&self, name: &str) -> Result<(Vec<u8>, Vec<usize>), Box<dyn Error>> {
        let tensor = self.read(name)?;
        Ok((tensor.bytes.into_owned(), tensor.shape))
    }

    fn read(&self, name: &str) -> Result<HostTensor<'_>, Box<dyn Error>> {
        Ok(pollster::block_on(self.file.read(name))?)
    }
}
