//! One header block of a tar: name, size, kind.
//!
//! Source: POSIX.1-2017 `pax`, and GNU tar's manual for its own numbers.

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// With the prefix in front.
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    pub(super) kind: u8,
    /// GNU's sparse files: more blocks of headers follow.
    pub(super) extended: bool,
}

/// Reads a block; none where it is no header.
pub(super) fn parse(block: &[u8; BLOCK]) -> Option<Header> {
    if number(&block[148..156])? != checksum(block, u64::from) && !signed_sum_fits(block) {
        return None;
    }
    let size = number(&block[124..136])?;
    let name = text(&block[..100]);
    let prefix = match &block[257..263] == b"ustar\0" {
        true => text(&block[345..500]),
        false => &[],
    };
    let name = match prefix {
        [] => name.to_vec(),
        prefix => [prefix, b"/", name].concat(),
    };
    Some(Header {
        name,
        size,
        kind: block[156],
        extended: block[156] == b'S' && block[482] != 0,
    })
}

/// True for a block of zeros, which ends a tar.
pub(super) fn is_end(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// The sum of all bytes, where those of the sum itself count as spaces.
fn checksum(block: &[u8; BLOCK], value: impl Fn(u8) -> u64) -> u64 {
    let bytes = block.iter().enumerate().map(|(at, &byte)| match at {
        148..156 => value(b' '),
        _ => value(byte),
    });
    bytes.fold(0, u64::wrapping_add)
}

/// Some old programs summed signed bytes.
fn signed_sum_fits(block: &[u8; BLOCK]) -> bool {
    number(&block[148..156]) == Some(checksum(block, |byte| i64::from(byte as i8) as u64))
}

/// Up to the first zero byte.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// A number in octal, or in base 256 where its first bit is set; none for others and for negative ones.
fn number(field: &[u8]) -> Option<u64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        if first != 0x80 {
            return None;
        }
        return rest.iter().try_fold(0u64, |number, &byte| {
            Some(number.checked_mul(256)? + u64::from(byte))
        });
    }
    let digits = text(field).trim_ascii();
    digits.iter().try_fold(0u64, |number, &digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b" 12 \0   "), Some(0o12));
        assert_eq!(number(b"\0\0\0"), Some(0));
        assert_eq!(number(b"12x"), None);
        assert_eq!(number(&[0x80, 0, 0, 1, 2]), Some(258));
        // Negative, and beyond 64 bits.
        assert_eq!(number(&[0xFF; 12]), None);
        assert_eq!(number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
