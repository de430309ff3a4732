//! Icons, whose pictures may be whole PNG files.
//!
//! The `image` crate reads those of RGBA alone; other programs write any kind of PNG into an icon.

/// The bytes of an entry of the list in front, and of what stands before it.
const ENTRY: usize = 16;
const HEAD: usize = 6;

/// The PNG file that is an icon's largest picture; `None` where that is no PNG.
pub fn png_in(icon: &[u8]) -> Option<&[u8]> {
    let count = usize::from(u16::from_le_bytes([*icon.get(4)?, *icon.get(5)?]));
    let entries = icon.get(HEAD..)?.chunks_exact(ENTRY).take(count);
    // A side of 256 pixels is written as 0.
    let side = |byte: u8| if byte == 0 { 256 } else { u32::from(byte) };
    let largest = entries.max_by_key(|entry| side(entry[0]) * side(entry[1]))?;
    let number = |at: usize| {
        let bytes = largest.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (length, start) = (number(8)?, number(12)?);
    let picture = icon.get(start..start.checked_add(length)?)?;
    picture.starts_with(b"\x89PNG\r\n\x1a\n").then_some(picture)
}
