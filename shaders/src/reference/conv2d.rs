//! 2-D convolution by its definition, and the upsampling before it.

/// `x [channels, height, width]` convolved with `weight [out, channels, kernel, kernel]`, plus `bias [out]`:
/// `[out, height, width]`.
///
/// The stride is 1 and `kernel` is odd; the picture is padded with zeros.
///
/// # Panics
/// When the lengths do not fit `[height, width]` and `kernel`.
pub fn conv2d(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    [height, width]: [usize; 2],
    kernel: usize,
) -> Vec<f32> {
    assert!(x.len().is_multiple_of(height * width));
    let channels = x.len() / (height * width);
    assert_eq!(weight.len(), bias.len() * channels * kernel * kernel);
    let mut out = Vec::new();
    for (weight, &bias) in weight.chunks_exact(channels * kernel * kernel).zip(bias) {
        for y in 0..height {
            for column in 0..width {
                let mut sum = f64::from(bias);
                for (index, &weight) in weight.iter().enumerate() {
                    let (channel, tap) = (index / (kernel * kernel), index % (kernel * kernel));
                    let y = (y + tap / kernel).wrapping_sub(kernel / 2);
                    let column = (column + tap % kernel).wrapping_sub(kernel / 2);
                    if y < height && column < width {
                        let x = x[(channel * height + y) * width + column];
                        sum += f64::from(x) * f64::from(weight);
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

/// Upsamples `x [.., height, width]` by nearest neighbour: `[.., 2 height, 2 width]`.
///
/// # Panics
/// When the length is not a multiple of `width`.
pub fn twice(x: &[f32], width: usize) -> Vec<f32> {
    assert!(x.len().is_multiple_of(width));
    let mut out = Vec::new();
    for row in x.chunks_exact(width) {
        for _ in 0..2 {
            out.extend(row.iter().flat_map(|&value| [value, value]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_reads_its_neighbour_and_zero_beyond_the_edge() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 x 3
        let mut right = [0.0; 9];
        right[5] = 1.0;
        assert_eq!(
            conv2d(&x, &right, &[0.5], [2, 3], 3),
            [2.5, 3.5, 0.5, 5.5, 6.5, 0.5]
        );
        let mut above = [0.0; 9];
        above[1] = 2.0;
        assert_eq!(
            conv2d(&x, &above, &[0.0], [2, 3], 3),
            [0.0, 0.0, 0.0, 2.0, 4.0, 6.0]
        );
    }

    #[test]
    fn channels_are_summed_for_each_output() {
        let x = [1.0, 2.0, 10.0, 20.0]; // 2 channels of 1 x 2
        assert_eq!(
            conv2d(&x, &[1.0, 1.0, 0.0, 0.5], &[0.0, 1.0], [1, 2], 1),
            [11.0, 22.0, 6.0, 11.0]
        );
    }

    #[test]
    fn a_pixel_becomes_four() {
        assert_eq!(
            twice(&[1.0, 2.0], 2),
            [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]
        );
    }
}
