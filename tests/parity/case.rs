//! One golden folder: its tensors, its other files and the device to run on.

use std::error::Error;
use std::io::Cursor;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use x2i_core::config::FluxConfig;
use x2i_core::flux::{Flux, Placement};
use x2i_core::model::{self, ModelSource};
use x2i_core::weights::{
    Component, HostTensor, LocalBoxFuture, Scope, StoredType, WeightFile, WeightSource, Weights,
    quant,
};
use x2i_core::{Image, InputBits};

use crate::device::{Effort, TestDevice};
use crate::goldens::{GOLDEN, Goldens};

/// What can go wrong in many ways, all of which only need to be read.
pub type Fallible<T> = Result<T, Box<dyn Error>>;

/// What a case returns when it can't run at all.
pub type Outcome = Fallible<()>;

/// One golden folder on one device.
pub struct Case<'a> {
    name: &'a str,
    goldens: &'a Goldens<'a>,
    pub golden: Golden,
    pub device: Device,
    second: Option<Device>,
    pub effort: Effort,
}

impl<'a> Case<'a> {
    pub async fn open(
        goldens: &'a Goldens<'a>,
        name: &'a str,
        device: &TestDevice,
    ) -> Fallible<Case<'a>> {
        let file = goldens.source.open(&format!("{name}/{GOLDEN}")).await?;
        let golden = Golden {
            file: WeightFile::open(file).await?,
        };
        Ok(Self {
            name,
            goldens,
            golden,
            device: device.device.clone(),
            second: device.second.clone(),
            effort: device.effort,
        })
    }

    /// The case's files by their path in it, sorted.
    pub fn paths(&self) -> Vec<String> {
        let paths = self.goldens.paths.iter();
        let inside = paths.filter_map(|path| path.strip_prefix(self.name)?.strip_prefix('/'));
        let mut inside: Vec<String> = inside.map(str::to_owned).collect();
        inside.sort();
        inside
    }

    /// A folder in or beside (`..`) the case as a model source; the case itself without a name.
    pub fn folder(&self, relative: &str) -> Folder<'a> {
        Folder {
            source: self.goldens.source,
            path: join(self.name, relative),
        }
    }

    /// Another case of the set, on the same device.
    pub async fn other<'b>(&self, name: &'b str) -> Fallible<Case<'b>>
    where
        'a: 'b,
    {
        let golden = Golden {
            file: WeightFile::open(
                self.goldens
                    .source
                    .open(&format!("{name}/{GOLDEN}"))
                    .await?,
            )
            .await?,
        };
        Ok(Case {
            name,
            goldens: self.goldens,
            golden,
            device: self.device.clone(),
            second: self.second.clone(),
            effort: self.effort,
        })
    }

    /// The transformer of these weights; where the case has a second device, that has the second half of the
    /// blocks.
    pub async fn flux(
        &self,
        config: &FluxConfig,
        weights: &Weights,
        input_bits: InputBits,
    ) -> Fallible<Flux> {
        let devices = std::iter::once(&self.device).chain(&self.second);
        let scopes: Vec<Scope<'_>> = devices
            .map(|device| weights.scope(device).with_input_bits(input_bits))
            .collect();
        let (doubles, singles) = (config.num_layers, config.num_single_layers);
        let half = (doubles + singles) / scopes.len();
        let double = half.min(doubles);
        let placement = Placement {
            double: vec![double, doubles - double],
            single: vec![half - double, singles - (half - double)],
        };
        Ok(Flux::load_placed(&placement, config, None, &scopes).await?)
    }

    /// The bytes of a file of the case.
    pub async fn read(&self, file: &str) -> Fallible<Vec<u8>> {
        Ok(model::read(&self.folder(""), file).await?)
    }

    /// Whether a file of the case is there.
    pub async fn exists(&self, file: &str) -> Fallible<bool> {
        match self.folder("").open(file).await {
            Ok(_) => Ok(true),
            Err(x2i_core::Error::MissingFile { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A JSON file of the case.
    pub async fn json(&self, file: &str) -> Fallible<Value> {
        Ok(serde_json::from_slice(&self.read(file).await?)?)
    }

    /// An 8-bit RGB PNG of the case.
    pub async fn image(&self, file: &str) -> Fallible<Image> {
        let bytes = self.read(file).await?;
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info()?;
        let (width, height) = (reader.info().width as usize, reader.info().height as usize);
        let mut pixels = vec![0; reader.output_buffer_size().ok_or("a huge picture")?];
        reader.next_frame(&mut pixels)?;
        Ok(Image::new(width, height, pixels)?)
    }

    /// The weights of `files` inside the case.
    pub async fn weights(&self, component: Component, files: &[&str]) -> Fallible<Weights> {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        Ok(model::open_weights(&self.folder(""), component, &files).await?)
    }

    /// A golden tensor on the device.
    pub async fn tensor<const D: usize>(&self, name: &str) -> Fallible<Tensor<D>> {
        let (values, shape) = self.golden.f32(name).await?;
        if shape.len() != D {
            return Err(format!("{name} has {} axes, not {D}", shape.len()).into());
        }
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }

    /// The values of one of our tensors.
    pub async fn values<const D: usize>(&self, tensor: Tensor<D>) -> Fallible<Vec<f32>> {
        let data = tensor.into_data_async().await?;
        Ok(data
            .try_to_vec::<f32>()
            .map_err(|error| format!("{error:?}"))?)
    }
}

/// A folder of a golden set.
pub struct Folder<'a> {
    source: &'a dyn ModelSource,
    path: String,
}

impl ModelSource for Folder<'_> {
    fn name(&self) -> &str {
        &self.path
    }

    fn open<'a>(
        &'a self,
        path: &'a str,
    ) -> LocalBoxFuture<'a, x2i_core::Result<Arc<dyn WeightSource>>> {
        let path = join(&self.path, path);
        Box::pin(async move { self.source.open(&path).await })
    }
}

/// Resolves `..` as far as the set's root: a source in a browser knows names, not folders.
fn join(folder: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = vec![];
    for part in folder.split('/').chain(relative.split('/')) {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(last)) if *last != ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The tensors of a `golden.safetensors`.
pub struct Golden {
    file: WeightFile,
}

impl Golden {
    pub fn contains(&self, name: &str) -> bool {
        self.file.tensors().contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file.tensors().keys().map(String::as_str)
    }

    pub async fn f32(&self, name: &str) -> Fallible<(Vec<f32>, Vec<usize>)> {
        let tensor = self.read(name).await?;
        Ok((
            quant::dequantize(&tensor.bytes, tensor.stored),
            tensor.shape,
        ))
    }

    #[cfg(not(target_family = "wasm"))]
    pub async fn f64(&self, name: &str) -> Fallible<Vec<f64>> {
        let tensor = self.read(name).await?;
        if tensor.stored != StoredType::F64 {
            return Err(format!("{name} is {:?}, not F64", tensor.stored).into());
        }
        let values = tensor.bytes.chunks_exact(8);
        let values = values.map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        Ok(values.collect())
    }

    pub async fn i64(&self, name: &str) -> Fallible<(Vec<i64>, Vec<usize>)> {
        let tensor = self.read(name).await?;
        if tensor.stored != StoredType::I64 {
            return Err(format!("{name} is {:?}, not I64", tensor.stored).into());
        }
        let values = tensor
            .bytes
            .chunks_exact(8)
            .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        Ok((values.collect(), tensor.shape))
    }

    pub async fn u8(&self, name: &str) -> Fallible<(Vec<u8>, Vec<usize>)> {
        let tensor = self.read(name).await?;
        Ok((tensor.bytes.into_owned(), tensor.shape))
    }

    async fn read(&self, name: &str) -> Fallible<HostTensor<'_>> {
        Ok(self.file.read(name).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_to_the_root_and_beyond_it() {
        assert_eq!(join("case", "a/b.json"), "case/a/b.json");
        assert_eq!(join("case", ""), "case");
        assert_eq!(join("case", "../other/x"), "other/x");
        assert_eq!(join("case", "../../x"), "../x");
        assert_eq!(join("../x", "../y"), "../y");
    }
}
