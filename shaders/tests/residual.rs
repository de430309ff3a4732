//! The gated residual on every device against the naive oracle.

mod common;
#[path = "common/views.rs"]
mod views;

use common::{Values, assert_close, devices};
use views::{SHAPES, TOLERANCE, VIEWS, rows, sliced, tensor};
use x2i_shaders::{gated_residual, reference};

#[test]
fn a_gated_residual_matches_the_reference_and_leaves_held_inputs_alone() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let [batch, tokens, width] = shape;
        let (x, y) = (rows(seed, shape, 1.0), rows(seed + 50, shape, 1e3));
        let gate = Values::new(11).normals(batch * width);
        let expected: Vec<f32> = (0..batch)
            .flat_map(|b| {
                let part = b * tokens * width..(b + 1) * tokens * width;
                let gate = &gate[b * width..][..width];
                reference::gated_residual(&x[part.clone()], gate, &y[part])
            })
            .collect();
        for (name, device) in devices() {
            let gate = || tensor(&gate, [batch, 1, width], device);
            let new = || (tensor(&x, shape, device), tensor(&y, shape, device));
            for (view, of) in VIEWS.iter().enumerate() {
                let (x, y) = new();
                let found = gated_residual(of(x), sliced(gate()), of(y));
                let case = format!("{shape:?} view {view} on {name}");
                assert_close(&case, found, &expected, TOLERANCE);
            }
            for held in [[true, true], [true, false], [false, true]] {
                let (held_x, held_y) = new();
                let (x, y) = match held {
                    [true, true] => (held_x.clone(), held_y.clone()),
                    [true, false] => (held_x.clone(), new().1),
                    _ => (new().0, held_y.clone()),
                };
                let case = format!("{shape:?} held {held:?} on {name}");
                assert_close(&case, gated_residual(x, gate(), y), &expected, TOLERANCE);
                assert_close(&case, held_x, &rows(seed, shape, 1.0), 0.0);
                assert_close(&case, held_y, &rows(seed + 50, shape, 1e3), 0.0);
            }
        }
    }
}
