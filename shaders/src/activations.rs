//! What a product, a norm or an attention gives to the next product alone: f32, or in half of the memory.
//!
//! Where a device multiplies in f16 ([`Kernels`](crate::Kernels)) such activations are stored as f16 that hold a
//! sixteenth of their value, from 1e-3 to 1e6 in full precision (`wgsl/parts/stored.wgsl`). The product would
//! round them to the same 11 bits in any case. Left out: residual streams, which stay f32 tensors.

use burn::tensor::{DType, Device, FloatDType, Tensor};

use crate::cooperative::Matrices;

/// What a number stands for, in f16.
pub(crate) const SCALE: f32 = 16.0;

/// Activations `[.., width]` between two products.
#[derive(Debug, Clone)]
pub struct Activations<const D: usize> {
    /// f32, or f16 of a sixteenth.
    numbers: Tensor<D>,
    /// More columns, of the same type.
    right: Option<Tensor<D>>,
}

/// True where [`Activations`] take 16 bits on a device: where it multiplies many rows in f16.
pub fn halves_activations(device: &Device) -> bool {
    Matrices::on(device).is_some()
}

impl<const D: usize> Activations<D> {
    /// Values in f32.
    pub fn new(values: Tensor<D>) -> Self {
        Self {
            numbers: values,
            right: None,
        }
    }

    /// Sixteenths in f16.
    pub(crate) fn sixteenths(numbers: Tensor<D>) -> Self {
        debug_assert_eq!(numbers.dtype(), DType::F16, "sixteenths are f16");
        Self::new(numbers)
    }

    /// True where they take 16 bits.
    pub fn is_half(&self) -> bool {
        self.numbers.dtype() == DType::F16
    }

    /// The shape of all columns together.
    pub fn dims(&self) -> [usize; D] {
        let mut dims = self.numbers.dims();
        dims[D - 1] += self.right.as_ref().map_or(0, |right| right.dims()[D - 1]);
        dims
    }

    /// True where the columns are in two parts.
    pub(crate) fn is_joined(&self) -> bool {
        self.right.is_some()
    }

    /// Where they are.
    pub fn device(&self) -> Device {
        self.numbers.device()
    }

    /// Values in f32.
    pub fn to_f32(self) -> Tensor<D> {
        let half = self.is_half();
        let numbers = match self.right {
            Some(right) => Tensor::cat(vec![self.numbers, right], D - 1),
            None => self.numbers,
        };
        match half {
            true => numbers.cast(FloatDType::F32) * SCALE,
            false => numbers,
        }
    }

    /// `length` places of an axis that is not the last, from `start` on.
    ///
    /// # Panics
    /// For the last axis, whose columns may be in two parts.
    pub fn narrow(self, axis: usize, start: usize, length: usize) -> Self {
        assert!(axis + 1 < D, "the columns are in parts");
        Self {
            numbers: self.numbers.narrow(axis, start, length),
            right: self.right.map(|right| right.narrow(axis, start, length)),
        }
    }

    /// These columns, and those of `right` after them; in 16 bits nothing is copied.
    pub fn beside(self, right: Self) -> Self {
        if self.is_half() && right.is_half() && self.right.is_none() && right.right.is_none() {
            return Self {
                numbers: self.numbers,
                right: Some(right.numbers),
            };
        }
        Self::new(Tensor::cat(vec![self.to_f32(), right.to_f32()], D - 1))
    }

    /// Both parts, `[rows, columns]` each.
    pub(crate) fn parts(self) -> (Tensor<2>, Option<Tensor<2>>) {
        let flat = |tensor: Tensor<D>| {
            let dims = tensor.dims();
            tensor.reshape([dims[..D - 1].iter().product::<usize>(), dims[D - 1]])
        };
        (flat(self.numbers), self.right.map(flat))
    }
}
