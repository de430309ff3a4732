//! Moments of 8 bits: blocks of 256 numbers, each the nearest entry of a table times the block's largest magnitude.
//!
//! Source: "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861) and the dynamic map of bitsandbytes. The
//! table is fine near zero: its entries have from one to seven bits of fraction, by powers of ten.

use std::ops::Range;
use std::sync::LazyLock;

/// Numbers of a block.
pub(super) const BLOCK: usize = 256;
/// Powers of ten of the table.
const EXPONENTS: i32 = 7;

/// The table for numbers of both signs, sorted.
static SIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| table(true));
/// The table for numbers that are not negative, sorted.
static UNSIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| table(false));

/// The dynamic map: at each power of ten the means of equal parts of 0.1..1, then 0 and 1.
fn table(signed: bool) -> [f32; 256] {
    let mut entries = vec![0.0, 1.0];
    for exponent in 0..EXPONENTS {
        let parts = if signed { 1 << exponent } else { 2 << exponent };
        let scale = 10f64.powi(exponent - (EXPONENTS - 1));
        for part in 0..parts {
            let mean = 0.1 + 0.9 * (f64::from(part) + 0.5) / f64::from(parts);
            let entry = (scale * mean) as f32;
            entries.push(entry);
            if signed {
                entries.push(-entry);
            }
        }
    }
    entries.sort_by(f32::total_cmp);
    std::array::from_fn(|place| entries[place])
}

/// The place of the nearest entry.
fn nearest(table: &[f32; 256], value: f32) -> u8 {
    let above = table.partition_point(|&entry| entry < value);
    let place = match above {
        0 => 0,
        256 => 255,
        above if value - table[above - 1] <= table[above] - value => above - 1,
        above => above,
    };
    place as u8
}

/// Numbers as bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Coded {
    pub codes: Vec<u8>,
    /// The largest magnitude of every block.
    pub scales: Vec<f32>,
    signed: bool,
}

impl Coded {
    fn zeros(count: usize, signed: bool) -> Self {
        let table = if signed { &SIGNED } else { &UNSIGNED };
        Self {
            codes: vec![nearest(table, 0.0); count],
            scales: vec![0.0; count.div_ceil(BLOCK)],
            signed,
        }
    }

    fn table(&self) -> &'static [f32; 256] {
        if self.signed { &SIGNED } else { &UNSIGNED }
    }

    fn read(&self, range: Range<usize>, values: &mut [f32]) {
        let (table, scale) = (self.table(), self.scales[range.start / BLOCK]);
        for (value, &code) in values.iter_mut().zip(&self.codes[range]) {
            *value = table[usize::from(code)] * scale;
        }
    }

    fn write(&mut self, range: Range<usize>, values: &[f32]) {
        let largest = values
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        let table = self.table();
        self.scales[range.start / BLOCK] = largest;
        let scale = if largest > 0.0 { largest.recip() } else { 0.0 };
        for (code, &value) in self.codes[range].iter_mut().zip(values) {
            *code = nearest(table, value * scale);
        }
    }
}

/// Both moments of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bytes {
    pub first: Coded,
    pub second: Coded,
}

impl Bytes {
    pub fn zeros(count: usize) -> Self {
        Self {
            first: Coded::zeros(count, true),
            second: Coded::zeros(count, false),
        }
    }

    /// Gives every block's place and its moments as f32, which may be changed.
    pub fn each_block(&mut self, mut change: impl FnMut(Range<usize>, &mut [f32], &mut [f32])) {
        let count = self.first.codes.len();
        let (mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK]);
        for start in (0..count).step_by(BLOCK) {
            let range = start..(start + BLOCK).min(count);
            let (first, second) = (&mut first[..range.len()], &mut second[..range.len()]);
            self.first.read(range.clone(), first);
            self.second.read(range.clone(), second);
            change(range.clone(), first, second);
            self.first.write(range.clone(), first);
            self.second.write(range, second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_256_entries_from_tiny_to_one() {
        for (table, least) in [(&SIGNED, -1.0), (&UNSIGNED, 0.0)] {
            assert!(
                table.windows(2).all(|pair| pair[0] < pair[1]),
                "sorted, no entry twice"
            );
            assert!(table.contains(&0.0) && table[255] == 1.0 && table[0] >= least);
        }
        // One part at the smallest power of ten: the mean of 0.1 and 1.
        assert!(SIGNED.iter().any(|&entry| (entry - 5.5e-7).abs() < 1e-12));
        // Two parts there: means of 0.1..0.55 and 0.55..1.
        assert!((UNSIGNED[1] - 3.25e-7).abs() < 1e-12 && (UNSIGNED[2] - 7.75e-7).abs() < 1e-12);
    }

    #[test]
    fn the_nearest_entry_is_found_and_a_block_comes_back_within_its_step() {
        for table in [&*SIGNED, &*UNSIGNED] {
            for (place, &entry) in table.iter().enumerate() {
                assert_eq!(usize::from(nearest(table, entry)), place);
            }
        }
        let values: Vec<f32> = (0..300)
            .map(|at| ((at * 37 % 301) as f32 - 150.0) / 40.0)
            .collect();
        let mut bytes = Bytes::zeros(300);
        bytes.each_block(|range, first, second| {
            first.copy_from_slice(&values[range.clone()]);
            for (second, value) in second.iter_mut().zip(&values[range]) {
                *second = value * value;
            }
        });
        bytes.each_block(|range, first, second| {
            for ((first, second), value) in first.iter().zip(second).zip(&values[range]) {
                assert!((first - value).abs() <= 0.01 * 3.75, "{first} {value}");
                assert!(
                    (*second - value * value).abs() <= 0.01 * 15.0,
                    "{second} {value}"
                );
            }
        });
    }
}
