//! Rows of a tensor on the CPU, read where they are: slices of a projection need no copy.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// `[batch, tokens, width]` of f32 whose rows are whole in memory.
pub(crate) struct Rows {
    tensor: FlexTensor,
    tokens: usize,
    width: usize,
}

impl Rows {
    /// Copies only where neighbours of a row are not neighbours in memory.
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        let tensor = match tensor.layout().strides()[2] {
            1 => tensor,
            _ => tensor.to_contiguous(),
        };
        let shape = tensor.layout().shape();
        Self {
            tokens: shape[1],
            width: shape[2],
            tensor,
        }
    }

    /// Row `token` of `batch`.
    pub(crate) fn row(&self, batch: usize, token: usize) -> &[f32] {
        let layout = self.tensor.layout();
        let strides = layout.strides();
        let offset = batch as isize * strides[0] + token as isize * strides[1];
        let start = layout.start_offset().strict_add_signed(offset);
        &self.tensor.storage::<f32>()[start..start + self.width]
    }

    /// Row `index` of all batches.
    pub(crate) fn at(&self, index: usize) -> &[f32] {
        self.row(index / self.tokens, index % self.tokens)
    }

    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }
}

/// True when every tensor holds f32, the only type that the CPU's kernels read.
pub(crate) fn all_f32<'a>(tensors: impl IntoIterator<Item = &'a FlexTensor>) -> bool {
    tensors
        .into_iter()
        .all(|tensor| tensor.dtype() == DType::F32)
}

/// A contiguous tensor, not copied (nor held twice) where it is one already and starts its memory.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    let whole = tensor.bytes().len() == layout.num_elements() * tensor.dtype().size();
    match whole && layout.is_contiguous() {
        true => tensor,
        false => tensor.to_contiguous(),
    }
}

/// New values of `shape`.
pub(crate) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape),
        DType::F32,
    )
}
