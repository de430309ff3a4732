//! What a tensor takes once it is on a device, known from the header alone.

use x2i_shaders::{BlockType, device_len};

use super::stored::{StoredType, element_count};
use super::target::Target;

impl Target {
    /// Bytes of a tensor of this type and shape; the largest number where they overflow.
    pub fn loaded_len(self, stored: StoredType, shape: &[usize]) -> u64 {
        let as_f32 = StoredType::F32.byte_len(shape).unwrap_or(u64::MAX);
        let as_stored = stored.byte_len(shape).unwrap_or(u64::MAX);
        match (self, stored.as_blocks(shape, self)) {
            (_, Some(block_type)) => self.blocks_len(block_type, shape),
            (Self::Cpu | Self::Library, None) if shape.len() == 2 && stored.is_half() => as_stored,
            (Self::Cpu | Self::Library, None) if shape.len() == 2 && stored.is_fp8() => {
                as_stored.saturating_mul(2)
            }
            (_, None) => as_f32,
        }
    }

    /// Bytes of a matrix in blocks, without scales of its rows.
    pub(super) fn blocks_len(self, block_type: BlockType, shape: &[usize]) -> u64 {
        let count = element_count(shape).unwrap_or(u64::MAX);
        match self {
            Self::Cpu => {
                (count / block_type.len() as u64).saturating_mul(block_type.bytes() as u64)
            }
            Self::Gpu | Self::Library | Self::Other => device_len(block_type, count),
        }
    }
}

/// Rows of `cols` f32 that fit the largest buffer, `rows` in parts of like size; one at least.
pub(crate) fn rows_at_once(largest: Option<u64>, rows: usize, cols: usize) -> usize {
    let row = (cols * size_of::<f32>()).max(1) as u64;
    let most = largest.map_or(rows as u64, |bytes| bytes / row).max(1);
    let parts = (rows as u64).div_ceil(most).max(1);
    rows.div_ceil(parts as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_keeps_the_file_s_bytes_and_a_gpu_words_with_scales() {
        let both =
            |stored| [Target::Cpu, Target::Gpu].map(|target| target.loaded_len(stored, &[2, 256]));
        assert_eq!(both(StoredType::Q4_0), [288, 256 + 64]);
        assert_eq!(both(StoredType::Q8_0), [544, 512 + 64]);
        assert_eq!(both(StoredType::Q4K), [288, 256 + 128]);
        assert_eq!(both(StoredType::Q6K), [420, 512 + 128]);
        assert_eq!(both(StoredType::IQ4NL), [288, 256 + 64]);
        assert_eq!(both(StoredType::IQ4XS), [272, 256 + 64]);
        assert_eq!(both(StoredType::MXFP4), [272, 256 + 64]);
        assert_eq!(both(StoredType::BF16), [1024, 1024]);
        assert_eq!(Target::Other.loaded_len(StoredType::BF16, &[2, 256]), 2048);
        assert_eq!(both(StoredType::F8E4M3), [512, 512], "as stored");
        assert_eq!(both(StoredType::Q3K), [608, 512 + 128], "as bytes");
        assert_eq!(both(StoredType::IQ3S), [576, 512 + 64], "as bytes");
        assert_eq!(both(StoredType::Q2K), [2048, 2048], "read as f32");
    }

    #[test]
    fn a_gpu_of_other_kernels_keeps_16_bits_and_blocks() {
        let bytes = |stored, shape: &[usize]| Target::Library.loaded_len(stored, shape);
        assert_eq!(bytes(StoredType::BF16, &[2, 256]), 1024);
        assert_eq!(bytes(StoredType::F16, &[2, 33]), 132, "rows of any length");
        assert_eq!(
            bytes(StoredType::Q4_0, &[2, 256]),
            256 + 64,
            "words and scales"
        );
        assert_eq!(bytes(StoredType::F8E4M3, &[2, 256]), 512);
        assert_eq!(bytes(StoredType::F8E5M2, &[2, 33]), 132, "as f16");
        assert_eq!(bytes(StoredType::BF16, &[64]), 256, "vectors are f32");
    }

    #[test]
    fn rows_of_8_bits_that_are_no_whole_blocks_are_widened() {
        let both = |shape: &[usize]| {
            [Target::Cpu, Target::Gpu].map(|target| target.loaded_len(StoredType::F8E5M2, shape))
        };
        assert_eq!(both(&[2, 33]), [132, 264], "as f16 and f32");
        assert_eq!(both(&[64]), [256, 256]);
    }

    #[test]
    fn vectors_and_kernels_become_f32() {
        assert_eq!(Target::Cpu.loaded_len(StoredType::F16, &[7]), 28);
        assert_eq!(Target::Cpu.loaded_len(StoredType::BF16, &[2, 3, 3, 3]), 216);
        assert_eq!(Target::Gpu.loaded_len(StoredType::F64, &[3]), 12);
        assert_eq!(
            Target::Cpu.loaded_len(StoredType::F32, &[usize::MAX, 9]),
            u64::MAX
        );
    }

    #[test]
    fn parts_fit_the_largest_buffer_and_have_like_sizes() {
        let lavapipe = Some(134_217_728);
        assert_eq!(rows_at_once(None, 21_504, 3072), 21_504);
        assert_eq!(rows_at_once(lavapipe, 9216, 3072), 9216);
        assert_eq!(rows_at_once(lavapipe, 21_504, 3072), 10_752);
        assert_eq!(rows_at_once(Some(100), 10, 7), 3); // 3, 3, 3, 1
        assert_eq!(rows_at_once(Some(1), 10, 7), 1);
        assert_eq!(rows_at_once(Some(100), 0, 0), 1);
    }
}
