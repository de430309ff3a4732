//! A record as the user comment of an EXIF block.
//!
//! Source: Exif 2.32 and TIFF 6.0. Left out: all other fields, but for the program's name.

/// Begins our user comment.
const PREFIX: &str = "x2i ";
/// The character code of a user comment that holds ASCII.
const ASCII: &[u8; 8] = b"ASCII\0\0\0";
/// The character code of UTF-16, in the block's byte order.
const UNICODE: &[u8; 8] = b"UNICODE\0";
const SOFTWARE: u16 = 0x0131;
const EXIF_IFD: u16 = 0x8769;
const VERSION: u16 = 0x9000;
const USER_COMMENT: u16 = 0x9286;
/// TIFF's types.
const TEXT: u16 = 2;
const LONG: u16 = 4;
const UNDEFINED: u16 = 7;

/// An EXIF block with `record`, which is JSON, as its user comment.
pub(super) fn write(record: &str) -> Vec<u8> {
    let software = concat!("x2i ", env!("CARGO_PKG_VERSION"), "\0").as_bytes();
    let mut comment = ASCII.to_vec();
    comment.extend_from_slice(PREFIX.as_bytes());
    comment.extend_from_slice(escaped(record).as_bytes());
    const HEADER: u32 = 8;
    const IFD: u32 = 2 + 2 * 12 + 4; // of two fields
    let text = HEADER + 2 * IFD;
    let comment_at = text + software.len() as u32;
    let mut bytes = b"II*\0".to_vec();
    bytes.extend(HEADER.to_le_bytes());
    let fields = [
        (SOFTWARE, TEXT, software.len() as u32, text),
        (EXIF_IFD, LONG, 1, HEADER + IFD),
    ];
    push_ifd(&mut bytes, fields);
    let version = u32::from_le_bytes(*b"0232");
    let fields = [
        (VERSION, UNDEFINED, 4, version),
        (USER_COMMENT, UNDEFINED, comment.len() as u32, comment_at),
    ];
    push_ifd(&mut bytes, fields);
    bytes.extend_from_slice(software);
    bytes.extend(comment);
    bytes
}

/// Fields by tag, type, count, and value or place.
fn push_ifd(bytes: &mut Vec<u8>, fields: [(u16, u16, u32, u32); 2]) {
    bytes.extend((fields.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in fields {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]); // no next one
}

/// JSON in ASCII: other characters stand within its strings only, where an escape is the same.
fn escaped(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        match character.is_ascii() {
            true => ascii.push(character),
            false => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    ascii.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    ascii
}

/// The record in an EXIF block; `None` where it holds none of ours.
pub(super) fn read(block: &[u8]) -> Option<String> {
    let block = Block {
        bytes: block,
        is_little: block.starts_with(b"II"),
    };
    let (_, exif) = block.field(block.long(4)?, EXIF_IFD)?;
    let (length, place) = block.field(exif, USER_COMMENT)?;
    let comment = block.slice(place, length)?;
    let (code, text) = comment.split_first_chunk::<8>()?;
    let text = match code {
        UNICODE => {
            let units = text.chunks_exact(2);
            let units: Vec<u16> = units.map(|unit| block.order([unit[0], unit[1]])).collect();
            String::from_utf16(&units).ok()?
        }
        _ => std::str::from_utf8(text).ok()?.to_owned(),
    };
    let record = text.trim_end_matches(['\0', ' ']).strip_prefix(PREFIX)?;
    Some(record.to_owned())
}

struct Block<'a> {
    bytes: &'a [u8],
    is_little: bool,
}

impl Block<'_> {
    fn slice(&self, place: u32, length: u32) -> Option<&[u8]> {
        let start = place as usize;
        self.bytes.get(start..start.checked_add(length as usize)?)
    }

    fn order(&self, bytes: [u8; 2]) -> u16 {
        match self.is_little {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        }
    }

    fn short(&self, place: u32) -> Option<u16> {
        let bytes = self.slice(place, 2)?;
        Some(self.order([bytes[0], bytes[1]]))
    }

    fn long(&self, place: u32) -> Option<u32> {
        let bytes: [u8; 4] = self.slice(place, 4)?.try_into().ok()?;
        Some(match self.is_little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
    }

    /// The count, and the value or place, of a field in the IFD at `place`.
    fn field(&self, place: u32, tag: u16) -> Option<(u32, u32)> {
        let count = self.short(place)?;
        let fields = (0..u32::from(count)).map(|index| place.checked_add(2 + 12 * index));
        for at in fields {
            let at = at?;
            if self.short(at)? == tag {
                return Some((
                    self.long(at.checked_add(4)?)?,
                    self.long(at.checked_add(8)?)?,
                ));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_ascii() {
        let record = r#"{"prompt":"红苹果 🍎 \"x\""}"#;
        let block = write(record);
        assert!(block.is_ascii() || !block[60..].iter().any(|byte| *byte >= 0x80));
        let read: serde_json::Value = serde_json::from_str(&read(&block).unwrap()).unwrap();
        assert_eq!(read["prompt"], "红苹果 🍎 \"x\"");
    }

    #[test]
    fn blocks_of_other_programs_have_none() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"II*\0\xff\xff\xff\xff"), None);
        let mut other = write("{}");
        let at = other.len() - PREFIX.len() - 2;
        other[at] = b'y';
        assert_eq!(read(&other), None);
    }
}
