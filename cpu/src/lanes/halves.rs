//! The product by whatever unit multiplies bf16.

use super::bfloat::Bfloat;
use super::pair::Pair;
use super::tiles::Amx;
use super::weights::WeightRows;

/// True where [`product`] gives something.
pub fn multiplies() -> bool {
    Amx::new().is_some() || Bfloat::new().is_some()
}

/// [`super::product`] by the fastest unit for bf16 of the [processor's variant](crate::processor); `None` where it has
/// none.
pub fn product(
    x: &[f32],
    weight: &impl WeightRows<Pair>,
    shape: [usize; 2],
    bias: Option<&[f32]>,
) -> Option<Vec<f32>> {
    match (Amx::new(), Bfloat::new()) {
        (Some(unit), _) => Some(super::product(unit, x, weight, shape, bias)),
        (_, Some(unit)) => Some(super::product(unit, x, weight, shape, bias)),
        (None, None) => None,
    }
}
