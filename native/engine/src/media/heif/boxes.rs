//! Boxes of an ISO media file, and the numbers in them. Nothing is believed beyond the bytes that are
//! there.
//!
//! Source: ISO/IEC 14496-12, 4.2.

/// The name of a box or an item's type.
pub type Name = [u8; 4];

/// The boxes of a body, with their own bodies. A box that claims more than there is ends the list.
pub fn boxes(body: &[u8]) -> impl Iterator<Item = (Name, &[u8])> {
    let mut rest = Reader(body);
    std::iter::from_fn(move || {
        let short = u64::from(rest.u32()?);
        let name = rest.take(4)?.try_into().ok()?;
        let length = match short {
            0 => rest.0.len(), // to the end
            1 => usize::try_from(rest.uint(8)?.checked_sub(16)?).ok()?,
            short => usize::try_from(short.checked_sub(8)?).ok()?,
        };
        Some((name, rest.take(length)?))
    })
}

/// The body of the first box of this name.
pub fn find<'a>(body: &'a [u8], name: &Name) -> Option<&'a [u8]> {
    let mut all = boxes(body);
    all.find_map(|(found, body)| (found == *name).then_some(body))
}

/// A body that begins with a version and 24 flags.
pub fn versioned(body: &[u8]) -> Option<(u8, u32, Reader<'_>)> {
    let mut rest = Reader(body);
    let start = rest.u32()?;
    Some(((start >> 24) as u8, start & 0xff_ffff, rest))
}

/// Reads numbers, the highest byte first.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, at most 8; of none it is 0.
    pub fn uint(&mut self, bytes: usize) -> Option<u64> {
        let bytes = self.take(bytes)?.iter();
        Some(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    pub fn u8(&mut self) -> Option<u8> {
        Some(self.uint(1)? as u8)
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(self.uint(2)? as u16)
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(self.uint(4)? as u32)
    }

    /// The number of an item: of 32 bits where `wide`.
    pub fn id(&mut self, wide: bool) -> Option<u32> {
        Some(self.uint(if wide { 4 } else { 2 })? as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_have_short_long_and_open_lengths() {
        let mut bytes = b"\0\0\0\x0aaaaaxy".to_vec();
        bytes.extend(b"\0\0\0\x01bbbb\0\0\0\0\0\0\0\x11z");
        bytes.extend(b"\0\0\0\0ccccthe rest");
        let all: Vec<_> = boxes(&bytes).collect();
        let expected = [
            (*b"aaaa", &b"xy"[..]),
            (*b"bbbb", b"z"),
            (*b"cccc", b"the rest"),
        ];
        assert_eq!(all, expected);
        assert_eq!(find(&bytes, b"bbbb"), Some(&b"z"[..]));
        for lie in [
            &b"\0\0\0\xffaaaax"[..],
            b"\0\0\0\x07aaaa",
            b"\0\0\0\x01aaaa\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\0\0",
        ] {
            assert_eq!(boxes(lie).count(), 0, "{lie:?}");
        }
    }
}
