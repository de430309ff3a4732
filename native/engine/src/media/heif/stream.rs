//! Coded pictures as one stream that ffmpeg decodes: HEVC with start codes, AV1 in IVF.
//!
//! Source: ISO/IEC 14496-15, 8.3.3 (`hvcC`), ITU-T H.265, annex B, and AV1 in ISOBMFF, 2.3 (`av1C`). Each
//! picture brings its own parameters along, since tiles may differ in them.

use super::boxes::{Name, Reader};
use crate::media::sniff::Format;

/// The codecs of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Hevc,
    Av1,
}

impl Codec {
    /// The codec of an item's type; `None` for an item that is no coded picture, or in another codec.
    pub fn of(kind: Name) -> Option<Self> {
        match &kind {
            b"hvc1" | b"hev1" => Some(Self::Hevc),
            b"av01" => Some(Self::Av1),
            _ => None,
        }
    }

    /// The property with its parameters.
    pub fn parameters(self) -> &'static Name {
        match self {
            Self::Hevc => b"hvcC",
            Self::Av1 => b"av1C",
        }
    }

    /// The container of [`Stream`].
    pub fn format(self) -> Format {
        match self {
            Self::Hevc => Format::Hevc,
            Self::Av1 => Format::Ivf,
        }
    }
}

/// A stream of pictures.
pub struct Stream {
    pub codec: Codec,
    pub bytes: Vec<u8>,
    pictures: u64,
}

impl Stream {
    /// An empty stream.
    pub fn new(codec: Codec) -> Self {
        let mut bytes = vec![];
        if codec == Codec::Av1 {
            bytes.extend(b"DKIF\0\0\x20\0AV01");
            // A size that the pictures themselves replace, 25 of them a second, and their number, which
            // nobody needs.
            bytes.extend([16, 0, 16, 0, 25, 0, 0, 0, 1, 0, 0, 0]);
            bytes.extend([0; 8]);
        }
        Self {
            codec,
            bytes,
            pictures: 0,
        }
    }

    /// Adds a coded picture with the parameters of its item; `None` when they are broken.
    pub fn push(&mut self, parameters: &[u8], picture: &[u8]) -> Option<()> {
        match self.codec {
            Codec::Hevc => self.push_hevc(parameters, picture)?,
            Codec::Av1 => self.push_av1(parameters, picture)?,
        }
        self.pictures += 1;
        Some(())
    }

    fn push_hevc(&mut self, parameters: &[u8], picture: &[u8]) -> Option<()> {
        let mut rest = Reader(parameters);
        rest.take(21)?;
        let size = usize::from(rest.u8()? & 3) + 1;
        for _ in 0..rest.u8()? {
            rest.u8()?; // the kind of these units
            for _ in 0..rest.u16()? {
                let length = usize::from(rest.u16()?);
                self.push_unit(rest.take(length)?);
            }
        }
        let mut rest = Reader(picture);
        while !rest.0.is_empty() {
            let length = usize::try_from(rest.uint(size)?).ok()?;
            self.push_unit(rest.take(length)?);
        }
        Some(())
    }

    fn push_unit(&mut self, unit: &[u8]) {
        self.bytes.extend([0, 0, 0, 1]);
        self.bytes.extend(unit);
    }

    fn push_av1(&mut self, parameters: &[u8], picture: &[u8]) -> Option<()> {
        /// The unit that begins a picture.
        const DELIMITER: &[u8] = &[0x12, 0];
        let header = parameters.get(4..)?;
        let picture = picture.strip_prefix(DELIMITER).unwrap_or(picture);
        let length = DELIMITER.len() + header.len() + picture.len();
        self.bytes.extend(u32::try_from(length).ok()?.to_le_bytes());
        self.bytes.extend(self.pictures.to_le_bytes());
        for part in [DELIMITER, header, picture] {
            self.bytes.extend(part);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_hevc_get_start_codes_and_their_parameters() {
        let mut parameters = vec![0; 21];
        parameters.extend([0xfd, 1, 0x20, 0, 1, 0, 2, 0x40, 0x41]); // lengths of two bytes
        let mut stream = Stream::new(Codec::Hevc);
        stream.push(&parameters, &[0, 3, 1, 2, 3, 0, 1, 9]).unwrap();
        let expected = [0, 0, 0, 1, 0x40, 0x41, 0, 0, 0, 1, 1, 2, 3, 0, 0, 0, 1, 9];
        assert_eq!(stream.bytes, expected);
        for broken in [&[0, 4, 1, 2, 3][..], &[0]] {
            assert!(stream.push(&parameters, broken).is_none());
        }
        assert!(stream.push(&parameters[..27], &[]).is_none());
    }

    #[test]
    fn pictures_of_av1_are_frames_of_ivf() {
        let mut stream = Stream::new(Codec::Av1);
        stream.push(&[0x81, 0, 0, 0, 7], &[0x12, 0, 8]).unwrap();
        stream.push(&[0x81, 0, 0, 0], &[9]).unwrap();
        let frames = &stream.bytes[32..];
        let first = [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0, 7, 8];
        let second = [3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x12, 0, 9];
        assert_eq!(frames, [&first[..], &second].concat());
        assert!(stream.push(&[0x81], &[9]).is_none());
    }
}
