//! The third step: a matrix product over the channels at every point.

use super::sizes::{LANES, POINTS, ROWS, Sizes};
use crate::conv2d::transform::IN;
use x2i_cpu::vectorize::{Kernel, multiply_add};

/// The matrix products over the channels.
pub(crate) struct Products<'a> {
    pub(super) weight: &'a [[f32; ROWS]],
    pub(super) values: &'a [[f32; LANES]],
    pub(super) sizes: Sizes,
    pub(super) panels: usize,
    pub(super) products: &'a mut [[[f32; LANES]; ROWS]],
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (panels, input) = (self.panels, self.sizes.input);
        let blocks = self.sizes.output.div_ceil(ROWS);
        for [y, x] in self.sizes.picture.points() {
            let point = y * IN + x;
            let values = &self.values[point * panels * input..][..panels * input];
            for block in 0..blocks {
                let weight = &self.weight[(block * POINTS + point) * input..][..input];
                let products = &mut self.products[(point * blocks + block) * panels..][..panels];
                for (products, values) in products.iter_mut().zip(values.chunks_exact(input)) {
                    *products = product(weight, values);
                }
            }
        }
    }
}

/// The sums of one register block.
#[inline(always)]
fn product(weight: &[[f32; ROWS]], values: &[[f32; LANES]]) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0; LANES]; ROWS];
    for (weight, values) in weight.iter().zip(values) {
        for (sums, &weight) in sums.iter_mut().zip(weight) {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum = multiply_add(weight, value, *sum);
            }
        }
    }
    sums
}
