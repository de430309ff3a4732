//! The shapes of AMX's tiles, as `ldtilecfg` reads them.

/// Palette 1: rows, and bytes of a row, of each of eight tiles.
#[repr(C, align(64))]
pub struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Those of tiles with so many rows, and so many bytes of a row.
    ///
    /// # Panics
    /// For more than a tile has: 16 rows of 64 bytes.
    pub const fn new(tiles: [[usize; 2]; 8]) -> Self {
        let (mut row_bytes, mut rows, mut tile) = ([0; 16], [0; 16], 0);
        while tile < 8 {
            let [height, width] = tiles[tile];
            assert!(
                height <= 16 && width <= 64,
                "a tile has 16 rows of 64 bytes"
            );
            (rows[tile], row_bytes[tile]) = (height as u8, width as u16);
            tile += 1;
        }
        Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes,
            rows,
        }
    }
}

/// Eight whole tiles.
pub static EIGHT_TILES: Shapes = Shapes::new([[16, 64]; 8]);
