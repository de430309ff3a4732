//! A prefix of tensor names beside a device: what a layer is loaded from.
//!
//! Left out: layers themselves, and keeping anything after it was handed over.

use std::fmt::Display;
use std::ops::Range;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, Tensor, TensorData};
use x2i_shaders::{BlockQuantized, BlockType, InputBits, largest_buffer, takes_halves, words_len};

use crate::error::{Error, Result};
use crate::lora::LayerChange;

use super::asked::Asked;
use super::blocks::Blocks;
use super::file::HostTensor;
use super::footprint::rows_at_once;
use super::held::Held;
use super::later::{Later, Streaming};
use super::leaves::Leaves;
use super::matrix::Matrix;
use super::set::Weights;
use super::stored::StoredType;
use super::target::Target;
use super::{LocalBoxFuture, memory_len, quant};

/// Hears every tensor that was read, and may stop the reading.
pub trait OnRead {
    /// Hears that `bytes` more of the weights were read.
    ///
    /// # Errors
    /// What the reading shall end with.
    fn on_read(&self, bytes: usize) -> LocalBoxFuture<'_, Result<()>>;
}

/// A part of a model's names, and the device that its tensors go to.
#[derive(Clone)]
pub struct Scope<'a> {
    weights: &'a Weights,
    device: &'a Device,
    prefix: String,
    on_read: Option<&'a dyn OnRead>,
    input_bits: InputBits,
    reads: Reads<'a>,
    leaves: Option<&'a Leaves>,
    held: Option<&'a Held>,
    streaming: Option<Streaming<'a>>,
}

/// What is read of a tensor.
#[derive(Debug, Clone, Copy)]
enum Reads<'a> {
    /// Its numbers.
    Values,
    /// Its name and its shape: a layer is loaded of zeros, which take no memory.
    Header(&'a Asked),
}

impl Weights {
    /// The names from the root, for tensors that go to `device`.
    pub fn scope<'a>(&'a self, device: &'a Device) -> Scope<'a> {
        Scope {
            weights: self,
            device,
            prefix: String::new(),
            on_read: None,
            input_bits: InputBits::default(),
            reads: Reads::Values,
            leaves: None,
            held: None,
            streaming: None,
        }
    }
}

impl Later {
    /// The scope.
    pub(crate) fn scope(&self) -> Scope<'_> {
        let scope = self.weights.scope(&self.device);
        scope.child(&self.prefix).with_input_bits(self.input_bits)
    }
}

impl<'a> Scope<'a> {
    /// The same, told to `on_read`.
    pub fn heard_by(self, on_read: &'a dyn OnRead) -> Self {
        Self {
            on_read: Some(on_read),
            ..self
        }
    }

    /// The same, whose quantized layers round their inputs like this on the CPU.
    pub fn with_input_bits(self, input_bits: InputBits) -> Self {
        Self { input_bits, ..self }
    }

    /// The same without reading a number: what is loaded from it checks that every tensor is there and
    /// has the shape that the config asks for, and is good for nothing else. `asked` hears the names.
    pub fn of_headers(self, asked: &'a Asked) -> Self {
        Self {
            reads: Reads::Header(asked),
            ..self
        }
    }

    /// The same, which gives these leaves in place of tensors of their names, and their changes of layers.
    pub fn with_leaves(self, leaves: &'a Leaves) -> Self {
        Self {
            leaves: Some(leaves),
            ..self
        }
    }

    /// The same, which reads a tensor once: after that it gives what `held` keeps on this scope's device.
    pub fn held_by(self, held: &'a Held) -> Self {
        Self {
            held: Some(held),
            ..self
        }
    }

    /// The same, under which a decoder keeps some of its layers alone.
    pub(crate) fn streaming(self, streaming: Streaming<'a>) -> Self {
        Self {
            streaming: Some(streaming),
            ..self
        }
    }

    /// How many of `count` layers below this scope stay on the device, and where the others are read.
    pub(crate) fn stays(&self, count: usize) -> (usize, Option<Later>) {
        let streaming = self.streaming.filter(|some| some.resident < count);
        let Some(Streaming { resident, weights }) = streaming else {
            return (count, None);
        };
        let later = Later {
            weights: weights.clone(),
            device: self.device.clone(),
            prefix: self.prefix.clone(),
            input_bits: self.input_bits,
        };
        (resident, Some(later))
    }

    /// What stands in place of tensors.
    pub(crate) fn leaves(&self) -> Option<&'a Leaves> {
        self.leaves
    }

    /// How quantized layers round their inputs on the CPU.
    pub fn input_bits(&self) -> InputBits {
        self.input_bits
    }

    /// Where tensors are put.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// The names below `name`: scope `a`, child `b`, tensor `c` is `a.b.c`.
    pub fn child(&self, name: impl Display) -> Scope<'a> {
        Self {
            prefix: self.full_name(&name.to_string()),
            ..self.clone()
        }
    }

    /// What messages call the part.
    pub fn label(&self) -> &'a str {
        self.weights.label()
    }

    /// True when the tensor is there.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains(&self.full_name(name))
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.weights.shape(&self.full_name(name))
    }

    /// Reads a tensor of this `shape` as f32 on the device.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or [`Error::Shape`] when it has another shape than `shape`.
    pub async fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Result<Tensor<D>> {
        if let Reads::Header(asked) = self.reads {
            self.check_header(asked, name, &shape)?;
            return Ok(asked.zeros(shape));
        }
        if let Some(leaf) = self.leaf(name, shape)? {
            return Ok(leaf);
        }
        let rows = 0..shape.first().copied().unwrap_or(1);
        self.floats(name, &shape, rows, shape).await
    }

    /// Some `rows` of a vector of `length`, as f32 `[rows]`.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    ///
    /// # Panics
    /// For rows that it does not have.
    pub async fn vector_rows(
        &self,
        name: &str,
        length: usize,
        rows: Range<usize>,
    ) -> Result<Tensor<1>> {
        let count = rows.len();
        if let Reads::Header(asked) = self.reads {
            self.check_header(asked, name, &[length])?;
            return Ok(asked.zeros([count]));
        }
        if let Some(leaf) = self.leaf(name, [length])? {
            return Ok(match rows == (0..length) {
                true => leaf, // a slice would be a step of one tape
                false => leaf.slice([rows]),
            });
        }
        self.floats(name, &[length], rows, [count]).await
    }

    /// Reads a linear layer's weight `[out, in]`: blocks stay blocks, floats of 8 and 4 bits and whole numbers
    /// with scales become blocks, on the CPU 16 bits stay 16 bits and other floats of 8 bits become f16; the
    /// rest becomes dense f32.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub async fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        self.matrix_rows(name, shape, 0..shape[0]).await
    }

    /// Some `rows` of a linear layer's weight of this `shape`, as [`matrix`](Self::matrix).
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    ///
    /// # Panics
    /// For rows that the shape does not have.
    pub async fn matrix_rows(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<Matrix> {
        if let Reads::Header(asked) = self.reads {
            self.check_header(asked, name, &shape)?;
            return Ok(Matrix::Dense(asked.zeros([rows.len(), shape[1]])));
        }
        if let Some(leaf) = self.leaf(name, shape)? {
            return Ok(Matrix::Dense(match rows == (0..shape[0]) {
                true => leaf,
                false => leaf.slice([rows]),
            }));
        }
        let full_name = self.full_name(name);
        if let Some(matrix) = self.held.and_then(|held| held.matrix(&full_name, &rows)) {
            return Ok(matrix);
        }
        let matrix = self.read_matrix(name, shape, rows.clone()).await?;
        if let Some(held) = self.held {
            held.keep_matrix(&full_name, &rows, &matrix);
        }
        Ok(matrix)
    }

    async fn read_matrix(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<Matrix> {
        let full_name = self.full_name(name);
        if let Some(block_type) = self.weights.as_blocks(&full_name, Target::of(self.device)) {
            let words = words_len(block_type, rows.len() as u64 * shape[1] as u64);
            if largest_buffer(self.device).is_none_or(|most| words <= most) {
                return self.blocks(name, block_type, shape, rows).await;
            }
        }
        let stored = self.weights.stored(&full_name);
        let dtype = match stored {
            Some(StoredType::F16 | StoredType::F8E4M3 | StoredType::F8E5M2) => Some(DType::F16),
            Some(StoredType::BF16) => Some(DType::BF16),
            _ => None,
        };
        match dtype.filter(|_| takes_halves(self.device)) {
            Some(dtype) => match stored.filter(|stored| stored.is_fp8()) {
                Some(fp8) => self.widened_halves(name, shape, rows, fp8).await,
                None => self.halves(name, shape, rows, dtype).await,
            },
            None => self.dense(name, shape, rows).await,
        }
    }

    /// The LoRAs' change of the layer of this scope, where there is one.
    ///
    /// # Errors
    /// What reading the LoRA's file gives.
    pub(crate) async fn change(&self) -> Result<Option<LayerChange>> {
        match self.reads {
            Reads::Values => {
                let change = self.weights.change(&self.prefix, self.device).await?;
                Ok(match self.leaves {
                    Some(leaves) => leaves.change(&self.prefix, change),
                    None => change,
                })
            }
            Reads::Header(_) => Ok(None),
        }
    }

    /// The leaf that stands in place of a tensor.
    fn leaf<const D: usize>(&self, name: &str, expected: [usize; D]) -> Result<Option<Tensor<D>>> {
        let Some(leaves) = self.leaves else {
            return Ok(None);
        };
        let name = self.full_name(name);
        match leaves.shape(&name) {
            Some(found) if found != expected => Err(Error::Shape {
                file: self.weights.label().to_owned(),
                found: found.to_vec(),
                expected: expected.to_vec(),
                name,
            }),
            _ => Ok(leaves.get(&name)),
        }
    }

    /// Some `rows` of a tensor as f32 on the device, which are a tensor of shape `part`.
    async fn floats<const D: usize>(
        &self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
        part: [usize; D],
    ) -> Result<Tensor<D>> {
        let full_name = self.full_name(name);
        if let Some(tensor) = self.held.and_then(|held| held.tensor(&full_name, &rows)) {
            return Ok(tensor);
        }
        let data = TensorData::new(self.values(name, shape, rows.clone()).await?, part);
        let tensor = Tensor::from_data(data, (self.device, DType::F32));
        if let Some(held) = self.held {
            held.keep_tensor(&full_name, &rows, &tensor);
        }
        Ok(tensor)
    }

    /// Rows of a matrix in the blocks that a device takes.
    async fn blocks(
        &self,
        name: &str,
        block_type: BlockType,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<Matrix> {
        let name = self.full_name(name);
        self.check_shape(&name, &shape)?;
        let part = [rows.len(), shape[1]];
        let Blocks { bytes, scales } = self.weights.read_blocks(&name, block_type, rows).await?;
        // Progress counts what `Weights::byte_len` counts.
        let stored = self.weights.stored(&name);
        let told = stored.and_then(|stored| stored.byte_len(&part));
        self.tell(told.unwrap_or(0) as usize).await?;
        let weight = BlockQuantized::from_ggml(bytes, block_type, part, self.device);
        let weight = weight.map_err(|error| {
            let file = self.weights.file_of(&name);
            Error::format(file, format!("tensor `{name}`: {error}"))
        })?;
        let weight = weight.with_input_bits(self.input_bits);
        Ok(Matrix::Quantized(match scales {
            Some(scales) => weight.with_row_scales(&scales),
            None => weight,
        }))
    }

    /// Rows of a matrix as f32, cut where the device can't bind them together.
    async fn dense(&self, name: &str, shape: [usize; 2], rows: Range<usize>) -> Result<Matrix> {
        let (count, cols) = (rows.len(), shape[1]);
        let values = self.values(name, &shape, rows).await?;
        let tensor = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [values.len() / cols, cols]);
            Tensor::from_data(data, (self.device, DType::F32))
        };
        match rows_at_once(largest_buffer(self.device), count, cols) {
            all if all >= count => {
                let data = TensorData::new(values, [count, cols]);
                Ok(Matrix::Dense(Tensor::from_data(
                    data,
                    (self.device, DType::F32),
                )))
            }
            some => Ok(Matrix::Parts(
                values.chunks(some * cols).map(tensor).collect(),
            )),
        }
    }

    /// The values of a tensor's rows as f32, after which its pages are given back.
    async fn values(&self, name: &str, shape: &[usize], rows: Range<usize>) -> Result<Vec<f32>> {
        let full_name = self.full_name(name);
        let mut part = shape.to_vec();
        if let Some(first) = part.first_mut() {
            *first = rows.len();
        }
        let bytes = StoredType::F32.byte_len(&part).unwrap_or(u64::MAX);
        let what = format_args!("tensor `{full_name}` as f32");
        memory_len(self.weights.file_of(&full_name), what, bytes)?;
        let mut values = self.read(name, shape, rows.clone()).await?.to_f32();
        self.weights.release(&full_name);
        if let [_] = shape {
            let change = self.weights.change_vector(&full_name, rows, &mut values);
            change.await?;
        }
        Ok(values)
    }

    /// Rows of a matrix of 16 bits as it is stored.
    async fn halves(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
        dtype: DType,
    ) -> Result<Matrix> {
        let part = [rows.len(), shape[1]];
        let mut bytes = self.bytes(name, shape, rows).await?;
        // A safetensors file may put numbers at odd places.
        if !bytes.as_ptr().addr().is_multiple_of(align_of::<u16>()) {
            let numbers = bytes.as_chunks().0.iter();
            bytes = Bytes::from_elems(numbers.map(|&bytes| u16::from_ne_bytes(bytes)).collect());
        }
        let data = TensorData::from_bytes(bytes, part, dtype);
        Ok(Matrix::Dense(Tensor::from_data(data, (self.device, dtype))))
    }

    /// Rows of a matrix of 8-bit floats as the f16 that they equal.
    async fn widened_halves(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
        stored: StoredType,
    ) -> Result<Matrix> {
        let part = [rows.len(), shape[1]];
        let tensor = self.read(name, &shape, rows).await?;
        let halves = Bytes::from_elems(quant::fp8_halves(&tensor.bytes, stored));
        self.weights.release(&self.full_name(name));
        let data = TensorData::from_bytes(halves, part, DType::F16);
        let tensor = Tensor::from_data(data, (self.device, DType::F16));
        Ok(Matrix::Dense(tensor))
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }

    /// The bytes of a matrix's rows as stored, shared with the source where that can be.
    async fn bytes(&self, name: &str, shape: [usize; 2], rows: Range<usize>) -> Result<Bytes> {
        let full_name = self.full_name(name);
        self.check_shape(&full_name, &shape)?;
        let Some(shared) = self.weights.share(&full_name) else {
            let tensor = self.read(name, &shape, rows).await?;
            return Ok(Bytes::from_bytes_vec(tensor.bytes.into_owned()));
        };
        let row = shared.len() / shape[0].max(1);
        let shared = shared.slice(rows.start * row..rows.end * row);
        self.tell(shared.len()).await?;
        Ok(Bytes::from_shared(shared, AllocationProperty::File))
    }

    async fn read(
        &self,
        name: &str,
        expected: &[usize],
        rows: Range<usize>,
    ) -> Result<HostTensor<'a>> {
        let name = self.full_name(name);
        self.check_shape(&name, expected)?;
        let tensor = match expected.first() {
            Some(&all) if rows != (0..all) => self.weights.read_rows(&name, rows).await?,
            _ => self.weights.read(&name).await?,
        };
        self.tell(tensor.bytes.len()).await?;
        Ok(tensor)
    }

    /// Fails unless the tensor is there and has this shape.
    fn check_header(&self, asked: &Asked, name: &str, expected: &[usize]) -> Result<()> {
        let name = self.full_name(name);
        asked.add(&name);
        match self.weights.contains(&name) {
            true => self.check_shape(&name, expected),
            false => Err(Error::MissingTensor {
                file: self.weights.label().to_owned(),
                name,
            }),
        }
    }

    /// Before the values are read: a wrong config must not cost a download.
    fn check_shape(&self, name: &str, expected: &[usize]) -> Result<()> {
        match self.weights.shape(name) {
            Some(found) if found != expected => Err(Error::Shape {
                file: self.weights.file_of(name).to_owned(),
                name: name.to_owned(),
                expected: expected.to_vec(),
                found,
            }),
            _ => Ok(()),
        }
    }

    async fn tell(&self, bytes: usize) -> Result<()> {
        match self.on_read {
            Some(on_read) => on_read.on_read(bytes).await,
            None => Ok(()),
        }
    }
}
