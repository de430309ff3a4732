//! One plane of a picture, its colors or its transparency: a coded item, or a grid of them.
//!
//! Source: ISO/IEC 23008-12, 6.6.2.3 (grids) and 6.5 (properties).

use super::boxes::{Reader, versioned};
use super::meta::Meta;
use super::stream::{Codec, Stream};
use crate::media::limits::{HEIF_TILES, PICTURE_BYTES, PICTURE_PIXELS, PICTURE_SIDE};

/// Bytes of a pixel while a picture is put together: RGB.
const CHANNELS: u64 = 3;

/// A plane before it is decoded.
pub struct Plane {
    /// Its tiles, row after row.
    pub stream: Stream,
    pub columns: u32,
    pub rows: u32,
    /// Width and height of a tile in pixels.
    pub tile: [u32; 2],
    /// Width and height of the whole; the tiles may reach beyond it.
    pub size: [u32; 2],
    /// How the file says that its numbers become colors; the stream says so too.
    pub coding: Option<Coding>,
}

/// A coding of colors as luma and chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// ffmpeg's name of the matrix.
    pub matrix: &'static str,
    /// Whether all values of a byte are used.
    pub is_full: bool,
}

/// Why a plane can't be had.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is made in a way that is not read here.
    Unknown,
    /// The reason, as the end of a message about the file.
    Reason(String),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl Plane {
    /// The plane of an item. Its bytes are at most twice those of the file.
    pub fn of(meta: &Meta, file: &[u8], item: u32) -> Result<Self, Trouble> {
        let kind = meta.type_of(item).ok_or(Trouble::Unknown)?;
        if Codec::of(kind).is_some() {
            let size = size(meta, item)?;
            check_size(size)?;
            return Self::of_tiles(meta, file, &[item], [1, 1], size, item);
        }
        if kind != *b"grid" {
            return Err(Trouble::Unknown);
        }
        let bytes = meta.bytes(file, item, file.len())?;
        let grid = Grid::read(&bytes).ok_or_else(|| reason("its grid of tiles is broken"))?;
        check_size(grid.size)?;
        let tiles = meta.referred(b"dimg", item);
        let count: usize = grid.sides.iter().map(|&side| side as usize).product();
        if tiles.len() != count || count > HEIF_TILES {
            let found = tiles.len();
            let said =
                format!("has {found} tiles for a grid of {count}; the most are {HEIF_TILES}");
            return Err(said.into());
        }
        Self::of_tiles(meta, file, tiles, grid.sides, grid.size, item)
    }

    fn of_tiles(
        meta: &Meta,
        file: &[u8],
        tiles: &[u32],
        [columns, rows]: [u32; 2],
        whole: [u32; 2],
        item: u32,
    ) -> Result<Self, Trouble> {
        let codec = tiles
            .first()
            .and_then(|&first| Codec::of(meta.type_of(first)?));
        let codec = codec.ok_or(Trouble::Unknown)?;
        let tile = size(meta, tiles[0])?;
        let reach = [
            tile[0].saturating_mul(columns),
            tile[1].saturating_mul(rows),
        ];
        if reach[0] < whole[0] || reach[1] < whole[1] {
            return Err(reason("its tiles do not fill the picture"));
        }
        let work = u64::from(reach[0]).saturating_mul(reach[1].into());
        if work > 2 * PICTURE_PIXELS {
            return Err(format!("has tiles of {work} pixels, which are too many").into());
        }
        let mut stream = Stream::new(codec);
        // Honest files may share a tile or two.
        let mut left = 2 * file.len();
        for &part in tiles {
            if meta.type_of(part).and_then(Codec::of) != Some(codec) || size(meta, part)? != tile {
                return Err(reason("its tiles differ in their size or codec"));
            }
            let bytes = meta.bytes(file, part, left)?;
            left -= bytes.len();
            let parameters = meta.property(part, codec.parameters());
            let pushed = parameters.and_then(|parameters| stream.push(parameters, &bytes));
            pushed.ok_or_else(|| reason("its coded pictures are broken"))?;
        }
        let coding = coding(meta, item).or_else(|| coding(meta, tiles[0]));
        Ok(Self {
            stream,
            columns,
            rows,
            tile,
            size: whole,
            coding,
        })
    }
}

fn reason(text: &str) -> Trouble {
    Trouble::Reason(text.into())
}

/// A grid of tiles.
#[derive(Debug, PartialEq, Eq)]
struct Grid {
    /// Columns and rows.
    sides: [u32; 2],
    size: [u32; 2],
}

impl Grid {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        rest.u8().filter(|&version| version == 0)?;
        let wide = rest.u8()? & 1 == 1;
        let rows = u32::from(rest.u8()?) + 1;
        let columns = u32::from(rest.u8()?) + 1;
        Some(Self {
            sides: [columns, rows],
            size: [rest.id(wide)?, rest.id(wide)?],
        })
    }
}

/// The width and height of an item in pixels.
fn size(meta: &Meta, item: u32) -> Result<[u32; 2], Trouble> {
    let read = |body| {
        let (_, _, mut rest) = versioned(body)?;
        Some([rest.u32()?, rest.u32()?])
    };
    let size = meta.property(item, b"ispe").and_then(read);
    size.filter(|sides| !sides.contains(&0))
        .ok_or(Trouble::Unknown)
}

fn check_size([width, height]: [u32; 2]) -> Result<(), Trouble> {
    let pixels = u64::from(width) * u64::from(height);
    let most = PICTURE_PIXELS.min(PICTURE_BYTES / CHANNELS);
    if width.max(height) > PICTURE_SIDE {
        let said = format!(
            "{width}x{height} has a side of more than {PICTURE_SIDE} pixels; make it smaller"
        );
        return Err(said.into());
    }
    match pixels > most {
        true => Err(format!("{width}x{height} is more than {most} pixels; make it smaller").into()),
        false => Ok(()),
    }
}

/// The coding that an item's `colr` property states, by the numbers of ITU-T H.273.
fn coding(meta: &Meta, item: u32) -> Option<Coding> {
    let mut all = meta.properties(item);
    all.find_map(|(name, body)| {
        let mut rest = Reader(body);
        if name != *b"colr" || rest.take(4)? != b"nclx" {
            return None;
        }
        rest.take(4)?; // primaries and curve
        let matrix = match rest.u16()? {
            1 => "bt709",
            4 => "fcc",
            5 | 6 => "bt601",
            7 => "smpte240m",
            9 | 10 => "bt2020",
            _ => return None,
        };
        let is_full = rest.u8()? >> 7 == 1;
        Some(Coding { matrix, is_full })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_have_sizes_of_16_or_32_bits() {
        let narrow = Grid::read(&[0, 0, 1, 2, 0, 100, 0, 80]).unwrap();
        assert_eq!((narrow.sides, narrow.size), ([3, 2], [100, 80]));
        let wide = Grid::read(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9]).unwrap();
        assert_eq!((wide.sides, wide.size), ([1, 1], [65_536, 9]));
        for broken in [
            &[1, 0, 1, 2, 0, 100, 0, 80][..],
            &[0, 1, 0, 0, 0, 1, 0, 0],
            b"",
        ] {
            assert_eq!(Grid::read(broken), None);
        }
    }
}
