//! How the shaders find a mask's part.

use burn::tensor::Shape;

/// The strides of a mask along batch and heads, in elements; 0 along a broadcast axis.
pub(super) fn strides(shape: &Shape) -> [usize; 2] {
    let tile = shape[2] * shape[3];
    [
        shape[1] * tile * usize::from(shape[0] > 1),
        tile * usize::from(shape[1] > 1),
    ]
}
