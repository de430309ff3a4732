//! Norms of rows on every device against the naive oracle.

mod common;
#[path = "common/views.rs"]
mod views;

use common::{Values, assert_close, devices};
use views::{EPS, SHAPES, TOLERANCE, VIEWS, rows, sliced, tensor};
use x2i_shaders::{modulated_layer_norm, reference, rms_norm};

#[test]
fn a_modulated_layer_norm_matches_the_reference_from_any_view() {
    for (seed, shape) in SHAPES.into_iter().enumerate().skip(1) {
        for magnitude in [1.0, 1e-8, 1e15] {
            let [batch, tokens, width] = shape;
            let x = rows(seed, shape, magnitude);
            let scale = Values::new(7).normals(batch * width);
            let shift = Values::new(8).normals(batch * width);
            let expected: Vec<f32> = (0..batch)
                .flat_map(|b| {
                    let x = &x[b * tokens * width..][..tokens * width];
                    let (scale, shift) =
                        (&scale[b * width..][..width], &shift[b * width..][..width]);
                    reference::modulated_layer_norm(x, scale, shift, EPS)
                })
                .collect();
            for (name, device) in devices() {
                for (view, of) in VIEWS.iter().enumerate() {
                    let found = modulated_layer_norm(
                        of(tensor(&x, shape, device)),
                        sliced(tensor(&scale, [batch, 1, width], device)),
                        sliced(tensor(&shift, [batch, 1, width], device)),
                        EPS,
                    );
                    let case = format!("{shape:?} times {magnitude}, view {view} on {name}");
                    assert_close(&case, found, &expected, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn an_rms_norm_matches_the_reference_from_any_view() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for magnitude in [1.0, 1e-8, 1e15] {
            let x = rows(seed, shape, magnitude);
            let weight = Values::new(9).normals(shape[2]);
            let expected = reference::rms_norm(&x, &weight, EPS);
            for (name, device) in devices() {
                for (view, of) in VIEWS.iter().enumerate() {
                    let weight = tensor(&weight, [shape[2]], device);
                    let found = rms_norm(of(tensor(&x, shape, device)), weight, EPS);
                    let case = format!("{shape:?} times {magnitude}, view {view} on {name}");
                    assert_close(&case, found, &expected, TOLERANCE);
                }
            }
        }
    }
}
