//! Products on cooperative matrices where the driver chooses among sizes of subgroups, as AMD's do: a subgroup does
//! the work of two.

#[allow(dead_code, reason = "this test has a device of its own")]
mod common;
#[path = "common/matrices.rs"]
mod matrices;

use burn::tensor::{Tensor, TensorData};
use common::{Values, assert_close};
use x2i_shaders::{assume_subgroups, halves_activations, linear, reference};

/// Both factors are rounded to 11 bits.
const TOLERANCE: f32 = 2e-3;

#[test]
fn a_subgroup_of_twice_the_lanes_does_the_work_of_two() {
    let Some(device) = matrices::device() else {
        return;
    };
    // Workgroups for eight subgroups of 4 lanes, of which llvmpipe makes four of 8.
    assume_subgroups([4, 8]);
    assert!(halves_activations(device));
    for (m, [rows, cols]) in [(9, [75, 64]), (33, [64, 100]), (130, [257, 96])] {
        let mut values = Values::new(m as u64);
        let (x, weight) = (values.normals(m * cols), values.normals(rows * cols));
        let bias = values.normals(rows);
        let expected = reference::linear(&x, &weight, Some(&bias), cols);
        let matrix = |data: &[f32], shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(data.to_vec(), shape), device)
        };
        let bias = Tensor::<1>::from_data(TensorData::new(bias, [rows]), device);
        let found = linear(
            matrix(&x, [m, cols]),
            matrix(&weight, [rows, cols]),
            Some(bias),
        );
        assert_close(
            &format!("{m} x {rows} x {cols}"),
            found,
            &expected,
            TOLERANCE,
        );
    }
}
