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
    size: [usize; 2],
    kernel: usize,
) -> Vec<f32> {
    let around = [kernel / 2, kernel - 1 - kernel / 2];
    strided(x, weight, bias, (size, kernel), (around, 1))
}

/// [`conv2d`] at every second place, with `zeros` before the picture and behind it along both axes:
/// `[out, (height + zeros - kernel) / 2 + 1, ..]`.
///
/// # Panics
/// As [`conv2d`].
pub fn halving_conv2d(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    size: [usize; 2],
    kernel: usize,
    zeros: [usize; 2],
) -> Vec<f32> {
    strided(x, weight, bias, (size, kernel), (zeros, 2))
}

fn strided(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    ([height, width], kernel): ([usize; 2], usize),
    (zeros, stride): ([usize; 2], usize),
) -> Vec<f32> {
    assert!(x.len().is_multiple_of(height * width));
    let channels = x.len() / (height * width);
    assert_eq!(weight.len(), bias.len() * channels * kernel * kernel);
    let [rows, columns] =
        [height, width].map(|length| (length + zeros[0] + zeros[1] - kernel) / stride + 1);
    let mut out = Vec::new();
    for (weight, &bias) in weight.chunks_exact(channels * kernel * kernel).zip(bias) {
        for (y, column) in (0..rows * columns).map(|i| (i / columns, i % columns)) {
            let mut sum = f64::from(bias);
            for (index, &weight) in weight.iter().enumerate() {
                let (channel, tap) = (index / (kernel * kernel), index % (kernel * kernel));
                let y = (y * stride + tap / kernel).wrapping_sub(zeros[0]);
                let column = (column * stride + tap % kernel).wrapping_sub(zeros[0]);
                if y < height && column < width {
                    let x = x[(channel * height + y) * width + column];
                    sum += f64::from(x) * f64::from(weight);
                }
            }
            out.push(sum as f32);
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
    fn every_second_place_is_taken() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 x 3
        let mut middle = [0.0; 9];
        middle[4] = 1.0;
        let halved = |zeros| halving_conv2d(&x, &middle, &[0.5], [2, 3], 3, zeros);
        assert_eq!(halved([1, 1]), [1.5, 3.5]);
        assert_eq!(halved([0, 1]), [5.5]);
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
