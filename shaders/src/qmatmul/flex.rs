//! Block-quantized weights on the CPU.
//!
//! Few input rows (a decoding LLM) are bound by reading the weight: each weight row is expanded once
//! into the first-level cache and multiplied there. Many input rows are bound by the multiplication:
//! a panel of weight rows is expanded and handed to burn-flex's GEMM, or expanded by our own GEMM
//! as it packs. Nobody holds the f32 weight.

use std::ops::Range;

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout, ops::matmul::matmul};
use rayon::prelude::*;

use super::{BLOCK, BlockType};
use crate::gemm::{Lines, Strided, interleave, product};
use crate::vectorize::{Kernel, dot, vectorize};

/// Up to this many input rows the dot products win: measured, 2 cores with AVX2.
const FEW_ROWS: usize = if cfg!(target_family = "wasm") { 4 } else { 16 };

/// Weight rows expanded for one GEMM: 3 MB at 3072 columns.
const PANEL_ROWS: usize = 256;

/// Weights in a task: a shorter one costs less than handing it to another thread.
const TASK_WEIGHTS: usize = 64 * 1024;

/// Contiguous blocks of a weight.
#[derive(Clone, Copy)]
struct Blocks<'a> {
    words: &'a [u32],
    scales: &'a [f32],
    block_type: BlockType,
    cols: usize,
}

impl<'a> Blocks<'a> {
    fn new(words: &'a FlexTensor, scales: &'a FlexTensor, block_type: BlockType) -> Self {
        Self {
            words: words.storage(),
            scales: scales.storage(),
            block_type,
            cols: scales.layout().shape()[1] * BLOCK,
        }
    }

    /// Weight rows in a task.
    fn task_rows(&self) -> usize {
        TASK_WEIGHTS.div_ceil(self.cols)
    }

    /// Expands the rows from `first` on until `out [rows, cols]` is full.
    #[inline(always)]
    fn expand(&self, first: usize, out: &mut [f32]) {
        self.expand_from(first * self.cols, out);
    }

    /// Expands whole blocks from the one that holds `element` on.
    #[inline(always)]
    fn expand_from(&self, element: usize, out: &mut [f32]) {
        let block = element / BLOCK;
        let words = &self.words[block * self.block_type.words()..];
        let out = out.as_chunks_mut::<BLOCK>().0.iter_mut();
        let out = out.zip(&self.scales[block..]);
        match self.block_type {
            BlockType::Q8_0 => {
                let values = bytemuck::cast_slice::<u32, i8>(words).as_chunks::<32>().0;
                for ((out, &scale), values) in out.zip(values) {
                    for (out, &value) in out.iter_mut().zip(values) {
                        *out = f32::from(value) * scale;
                    }
                }
            }
            BlockType::Q4_0 => {
                let pairs = bytemuck::cast_slice::<u32, u8>(words).as_chunks::<16>().0;
                for ((out, &scale), pairs) in out.zip(pairs) {
                    let (low, high) = out.split_at_mut(BLOCK / 2);
                    for ((low, high), &pair) in low.iter_mut().zip(high).zip(pairs) {
                        *low = (f32::from(pair & 15) - 8.0) * scale;
                        *high = (f32::from(pair >> 4) - 8.0) * scale;
                    }
                }
            }
        }
    }

    /// [`Self::expand`] on all threads.
    fn expand_parallel(&self, first: usize, out: &mut [f32]) {
        let rows = self.task_rows();
        out.par_chunks_mut(rows * self.cols)
            .enumerate()
            .for_each(|(task, out)| {
                vectorize(Expand {
                    blocks: *self,
                    first: first + task * rows,
                    out,
                });
            });
    }
}

/// The weight's rows, as the right side of our own GEMM.
impl Lines for Blocks<'_> {
    fn count(&self) -> usize {
        self.scales.len() * BLOCK / self.cols
    }

    fn pack<const W: usize>(&self, first: usize, inner: Range<usize>, panel: &mut [[f32; W]]) {
        let width = W.min(self.count() - first);
        let length = inner.len();
        let mut rows = vec![0.0; width * length];
        for (lane, row) in rows.chunks_exact_mut(length).enumerate() {
            self.expand_from((first + lane) * self.cols + inner.start, row);
        }
        interleave(|lane| &rows[lane * length..][..length], width, panel);
    }
}

/// [`Blocks::expand`] on the widest vector unit.
struct Expand<'a> {
    blocks: Blocks<'a>,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.blocks.expand(self.first, self.out);
    }
}

/// `weight x` for the weight rows from `first` on: `[weight rows, m]`.
struct DotProducts<'a> {
    x: &'a [f32],
    blocks: Blocks<'a>,
    first: usize,
    /// One weight row.
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for DotProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let cols = self.scratch.len();
        let m = self.x.len() / cols;
        for (row, out) in self.out.chunks_exact_mut(m).enumerate() {
            self.blocks.expand(self.first + row, self.scratch);
            for (out, x) in out.iter_mut().zip(self.x.chunks_exact(cols)) {
                *out = dot(x, self.scratch);
            }
        }
    }
}

pub(crate) fn dequantize(
    words: FlexTensor,
    scales: FlexTensor,
    block_type: BlockType,
) -> FlexTensor {
    let (words, scales) = (words.to_contiguous(), scales.to_contiguous());
    let blocks = Blocks::new(&words, &scales, block_type);
    let rows = scales.layout().shape()[0];
    let mut out = vec![0.0; rows * blocks.cols];
    if !out.is_empty() {
        blocks.expand_parallel(0, &mut out);
    }
    tensor(out, [rows, blocks.cols])
}

pub(crate) fn matmul_blocks(
    x: FlexTensor,
    words: FlexTensor,
    scales: FlexTensor,
    block_type: BlockType,
) -> FlexTensor {
    let (words, scales) = (words.to_contiguous(), scales.to_contiguous());
    let blocks = Blocks::new(&words, &scales, block_type);
    let rows = scales.layout().shape()[0];
    let m = x.layout().shape()[0];
    let out = if m * rows * blocks.cols == 0 {
        vec![0.0; m * rows]
    } else if m <= FEW_ROWS {
        dot_products(&x.to_contiguous(), &blocks, rows)
    } else if cfg!(target_family = "wasm") {
        product(&Strided::new(&x, 1), &blocks, blocks.cols, None)
    } else {
        panels(&x, &blocks, rows)
    };
    tensor(out, [m, rows])
}

fn dot_products(x: &FlexTensor, blocks: &Blocks, rows: usize) -> Vec<f32> {
    let x = x.storage::<f32>();
    let (cols, m) = (blocks.cols, x.len() / blocks.cols);
    let task_rows = blocks.task_rows();
    let mut transposed = vec![0.0; rows * m]; // [rows, m]
    let tasks = transposed.par_chunks_mut(task_rows * m).enumerate();
    tasks.for_each(|(task, out)| {
        vectorize(DotProducts {
            x,
            blocks: *blocks,
            first: task * task_rows,
            scratch: &mut vec![0.0; cols],
            out,
        });
    });
    if m == 1 {
        return transposed;
    }
    let column = |i: usize| transposed[i..].iter().step_by(m).copied();
    (0..m).flat_map(column).collect() // [m, rows]
}

fn panels(x: &FlexTensor, blocks: &Blocks, rows: usize) -> Vec<f32> {
    let m = x.layout().shape()[0];
    let mut out = vec![0.0; m * rows];
    for first in (0..rows).step_by(PANEL_ROWS) {
        let panel_rows = PANEL_ROWS.min(rows - first);
        let mut panel = vec![0.0; panel_rows * blocks.cols];
        blocks.expand_parallel(first, &mut panel);
        let panel = tensor(panel, [panel_rows, blocks.cols]);
        let product = matmul(x.clone(), panel.transpose(0, 1)); // [m, panel_rows]
        let product = product.storage::<f32>().chunks_exact(panel_rows);
        for (out, product) in out.chunks_exact_mut(rows).zip(product) {
            out[first..][..panel_rows].copy_from_slice(product);
        }
    }
    out
}

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> FlexTensor {
    let layout = Layout::contiguous(Shape::new(shape));
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}
