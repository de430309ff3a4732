//! Making blocks of our own formats.

use super::block_type::BlockType;
use super::group::GROUP;

impl BlockType {
    /// Appends a block of 32 unsigned numbers to `blocks`, for one of our own formats. The symmetric ones,
    /// [`Int4`](Self::Int4) and [`Int8`](Self::Int8), have a zero point of 8 and of 128.
    ///
    /// # Panics
    /// For a format of ggml's, and for another zero point than that of a symmetric format.
    pub fn push_scaled(self, numbers: &[u8; GROUP], scale: f32, zero: u8, blocks: &mut Vec<u8>) {
        blocks.extend(scale.to_le_bytes());
        match self {
            Self::Int4 | Self::Int8 => assert_eq!(zero, self.zero(), "{self:?} is symmetric"),
            Self::Int4Zero | Self::Int8Zero => blocks.push(zero),
            other => panic!("{other:?} is no format of whole numbers with a scale"),
        }
        match self {
            Self::Int8 | Self::Int8Zero => blocks.extend(numbers),
            _ => {
                let (low, high) = numbers.split_at(GROUP / 2);
                blocks.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
            }
        }
    }

    /// Appends a block of [`Int8Halves`](Self::Int8Halves): 32 numbers, and a factor of the scale for the first
    /// and the last 16.
    ///
    /// # Panics
    /// For another format, and for a product of a number and its factor above 4096.
    pub fn push_halves(
        self,
        numbers: &[i8; GROUP],
        scale: f32,
        factors: [i8; 2],
        blocks: &mut Vec<u8>,
    ) {
        assert_eq!(self, Self::Int8Halves, "it has two factors");
        let products = numbers
            .chunks(GROUP / 2)
            .zip(factors)
            .flat_map(|(numbers, factor)| {
                let product = move |&number: &i8| i16::from(number) * i16::from(factor);
                numbers.iter().map(product)
            });
        let largest = products.map(i16::abs).max();
        assert!(
            largest <= Some(self.largest_quant()),
            "{largest:?} is too large"
        );
        blocks.extend(scale.to_le_bytes());
        blocks.extend(factors.map(|factor| factor as u8));
        blocks.extend(numbers.map(|number| number as u8));
    }
}
