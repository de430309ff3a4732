//! Tiles: four sums of 16 x 16, two tiles of each factor.

use std::arch::asm;

use crate::processor::EIGHT_TILES;

/// Products of a round.
pub(super) const PRODUCTS: u64 = 4;

/// A loop of four `$product`.
macro_rules! repeated {
    ($name:ident, $product:literal) => {
        /// # Safety
        /// The machine must have AMX, and the system must have given it to this process.
        pub(super) unsafe fn $name(rounds: usize) {
            if rounds == 0 {
                return;
            }
            // SAFETY: the tiles are configured first and released at the end; no memory is written.
            unsafe {
                asm!(
                    "ldtilecfg [{config}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                    "2:",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    concat!($product, " tmm2, tmm5, tmm6"),
                    concat!($product, " tmm3, tmm5, tmm7"),
                    "dec {rounds}",
                    "jnz 2b",
                    "tilerelease",
                    config = in(reg) &EIGHT_TILES,
                    rounds = inout(reg) rounds => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly)
                );
            }
        }
    };
}

repeated!(bytes, "tdpbssd");
repeated!(halves, "tdpbf16ps");
