//! Interleaves lines of numbers into the columns of a panel.

/// Writes `width` contiguous lines, as long as the panel, into its columns.
pub fn interleave<'a, T: Copy + 'a>(
    line: impl Fn(usize) -> &'a [T],
    width: usize,
    panel: &mut [impl AsMut<[T]>],
) {
    /// The side of a square block that is transposed in registers.
    const SIDE: usize = 4;
    let blocks = width / SIDE * SIDE;
    for lane in (0..blocks).step_by(SIDE) {
        let lines: [&[T]; SIDE] = std::array::from_fn(|i| line(lane + i));
        let chunks = lines.map(|line| line.as_chunks::<SIDE>().0);
        for (at, out) in panel.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            let block = chunks.map(|chunks| chunks[at]);
            for (i, out) in out.iter_mut().enumerate() {
                out.as_mut()[lane..lane + SIDE].copy_from_slice(&block.map(|line| line[i]));
            }
        }
        let rest = panel.len() / SIDE * SIDE;
        for (i, line) in lines.iter().enumerate() {
            for (out, &value) in panel[rest..].iter_mut().zip(&line[rest..]) {
                out.as_mut()[lane + i] = value;
            }
        }
    }
    for lane in blocks..width {
        for (out, &value) in panel.iter_mut().zip(line(lane)) {
            out.as_mut()[lane] = value;
        }
    }
}
