//! Random seeds.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A random seed below 2³², short enough to type again.
pub fn random_seed() -> u64 {
    // The standard library takes the keys of its hash maps from the system's randomness.
    RandomState::new().build_hasher().finish() & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_seeds_differ() {
        assert_ne!(
            [random_seed(), random_seed()],
            [random_seed(), random_seed()]
        );
    }
}
