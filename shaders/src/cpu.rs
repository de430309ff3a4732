//! What the CPU kernels share: rows of a tensor read in place, parallel passes over rows, new tensors.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

/// Values of a task of a pass that is bound by memory. 64 kB are few enough to share the work evenly, and
/// stay in the cache for a second pass over them.
pub(crate) const TASK: usize = 16 * 1024;

/// A tensor `[batch, tokens, width]` of f32, each row of which is contiguous in memory.
pub(crate) struct Rows {
    tensor: FlexTensor,
    tokens: usize,
    width: usize,
}

impl Rows {
    /// Copies the tensor only where the elements of a row are not contiguous.
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

    /// Row `index`, counted over all batches.
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

/// Makes `rows` rows of `width` values in parallel. `fill(row, out)` writes one of them, over zeros.
pub(crate) fn each_row(
    rows: usize,
    width: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; rows * width];
    let task_rows = (TASK / width).max(1);
    out.par_chunks_mut(task_rows * width)
        .enumerate()
        .for_each(|(task, out)| {
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                fill(task * task_rows + row, out);
            }
        });
    out
}

/// True when every tensor holds f32, the one type that most CPU kernels read.
pub(crate) fn all_f32<'a>(tensors: impl IntoIterator<Item = &'a FlexTensor>) -> bool {
    tensors
        .into_iter()
        .all(|tensor| tensor.dtype() == DType::F32)
}

/// The tensor in contiguous memory: itself where it is contiguous and fills its allocation, else a copy.
///
/// Unlike `to_contiguous`, it adds no owner, so that a kernel may still write in place.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    let whole = tensor.bytes().len() == layout.num_elements() * tensor.dtype().size();
    match whole && layout.is_contiguous() {
        true => tensor,
        false => tensor.to_contiguous(),
    }
}

/// A contiguous tensor of `shape` that owns `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape.into()),
        DType::F32,
    )
}

/// Sums over the tokens of each batch: `[batch, width]`. `add(row, sums)` adds one row, counted over all batches.
///
/// Groups of rows are summed in parallel, then in order: the same numbers for any number of threads.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn sum_rows(
    [batch, tokens, width]: [usize; 3],
    add: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    /// Rows of a group.
    const GROUP: usize = 32;
    let groups = tokens.div_ceil(GROUP);
    let parts: Vec<Vec<f32>> = (0..batch * groups)
        .into_par_iter()
        .map(|task| {
            let (batch, first) = (task / groups, task % groups * GROUP);
            let mut sums = vec![0.0; width];
            for token in first..tokens.min(first + GROUP) {
                add(batch * tokens + token, &mut sums);
            }
            sums
        })
        .collect();
    let mut out = vec![0.0; batch * width];
    for (task, part) in parts.into_iter().enumerate() {
        let out = &mut out[task / groups * width..][..width];
        out.iter_mut()
            .zip(part)
            .for_each(|(out, part)| *out += part);
    }
    out
}
