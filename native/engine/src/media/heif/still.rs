//! What a HEIF file says of its picture: the planes, how it is turned, and its colors.
//!
//! Source: ISO/IEC 23008-12, 6.5 and 6.6, and ISO/IEC 23000-22, 7.3.5 (alpha).

use image::DynamicImage;

use super::meta::Meta;
use super::plane::{Plane, Trouble};

/// The names of a plane of transparency.
const ALPHA: [&[u8]; 2] = [
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
];

/// A picture before it is decoded.
pub struct Still {
    pub color: Plane,
    pub alpha: Option<Plane>,
    /// Whether colors are already multiplied by their alpha.
    pub is_premultiplied: bool,
    /// In the order in which they apply.
    pub turns: Vec<Turn>,
    /// The ICC profile.
    pub profile: Option<Vec<u8>>,
}

/// A way in which a picture is turned or mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// So many quarters anti-clockwise.
    Left(u8),
    /// The upper and the lower half change places.
    Vertically,
    /// The left and the right half change places.
    Horizontally,
}

/// The picture of a file; `None` where it is made in a way that is not read here.
///
/// # Errors
/// The reason, as the end of a message about the file, when it is broken or beyond the budgets.
pub fn read(file: &[u8]) -> Result<Option<Still>, String> {
    let Some(meta) = Meta::of(file) else {
        return Ok(None);
    };
    let known = |plane| match plane {
        Ok(plane) => Ok(Some(plane)),
        Err(Trouble::Unknown) => Ok(None),
        Err(Trouble::Reason(reason)) => Err(reason),
    };
    let Some(color) = known(Plane::of(&meta, file, meta.primary))? else {
        return Ok(None);
    };
    let mut planes = meta.referring(b"auxl", meta.primary);
    let alpha = planes.find(|&item| is_alpha(&meta, item));
    Ok(Some(Still {
        color,
        is_premultiplied: alpha
            .is_some_and(|item| meta.referred(b"prem", meta.primary).contains(&item)),
        alpha: match alpha {
            Some(item) => known(Plane::of(&meta, file, item))?,
            None => None,
        },
        turns: turns(&meta),
        profile: profile(&meta),
    }))
}

fn is_alpha(meta: &Meta, item: u32) -> bool {
    let kind = meta.property(item, b"auxC").and_then(|body| body.get(4..));
    let kind = kind.and_then(|text| text.split(|&byte| byte == 0).next());
    kind.is_some_and(|kind| ALPHA.contains(&kind))
}

fn turns(meta: &Meta) -> Vec<Turn> {
    let turn = |(name, body): ([u8; 4], &[u8])| match (&name, body.first()?) {
        (b"irot", angle) => Some(Turn::Left(angle & 3)),
        (b"imir", axis) if axis & 1 == 0 => Some(Turn::Vertically),
        (b"imir", _) => Some(Turn::Horizontally),
        _ => None,
    };
    meta.properties(meta.primary).filter_map(turn).collect()
}

/// The profile of the picture, or of its first tile.
fn profile(meta: &Meta) -> Option<Vec<u8>> {
    let tiles = meta.referred(b"dimg", meta.primary);
    let items = std::iter::once(meta.primary).chain(tiles.first().copied());
    let mut all = items.flat_map(|item| meta.properties(item));
    all.find_map(|(name, body)| {
        let (kind, profile) = body.split_at_checked(4)?;
        let is_profile = name == *b"colr" && matches!(kind, b"prof" | b"rICC");
        is_profile.then(|| profile.to_vec())
    })
}

impl Turn {
    /// The picture turned so.
    pub fn apply(self, picture: DynamicImage) -> DynamicImage {
        match self {
            // The library turns clockwise.
            Self::Left(1) => picture.rotate270(),
            Self::Left(2) => picture.rotate180(),
            Self::Left(3) => picture.rotate90(),
            Self::Left(_) => picture,
            Self::Vertically => picture.flipv(),
            Self::Horizontally => picture.fliph(),
        }
    }
}
