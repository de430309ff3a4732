//! Products that have nothing to multiply, which kernels leave to others.

/// True for a product of `[m, cols]` by `[rows, cols]` without a term.
///
/// The three sizes belong to no tensor together. In a browser, where a size has 32 bits, their product wraps: that of
/// 512 tokens with 4096 rows of 2048 is 2^32, which is 0.
pub(crate) fn has_no_terms([m, rows, cols]: [usize; 3]) -> bool {
    [m, rows, cols].contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_whose_product_wraps_to_0_have_terms() {
        let root = 1_usize << (usize::BITS / 2);
        assert_eq!(root.wrapping_mul(root), 0);
        assert!(!has_no_terms([root, root, 1]));
        assert!(!has_no_terms([1, 1, 1]));
        for zero in 0..3 {
            let mut sizes = [root; 3];
            sizes[zero] = 0;
            assert!(has_no_terms(sizes));
        }
    }
}
