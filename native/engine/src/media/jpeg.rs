//! Finds out whether a JPEG file was cut: decoders fill the rest with grey and say nothing.
//!
//! Source: ITU-T T.81, annex B. A file may lack its last marker and be whole: then the pixels do not
//! depend on what follows its bytes.

/// What is put after the bytes, to see whether it shows: more than a line of any picture needs.
const FILLER: usize = 1 << 16;
const SCAN: u8 = 0xda;
const END: u8 = 0xd9;
const RESTARTS: u8 = 0xdd;

/// Whether pixels are missing. `decode` gives the pixels of a file.
pub fn is_cut(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<Vec<u8>>) -> bool {
    let markers = Markers::of(bytes);
    if markers.ended {
        return false;
    }
    // After a restart interval, decoders skip what follows: nothing would show.
    if markers.restarts || !markers.scanned {
        return true;
    }
    let with = |seed: u32| {
        let numbers = std::iter::successors(Some(seed), |number| {
            Some(number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
        });
        // No byte of a marker.
        let filler = numbers
            .map(|number| (number >> 24) as u8 & 0x7f)
            .take(FILLER);
        let filled: Vec<u8> = bytes
            .iter()
            .copied()
            .chain(filler)
            .chain([0xff, END])
            .collect();
        decode(&filled)
    };
    match (with(1), with(2)) {
        (Some(one), Some(other)) => one != other,
        _ => true,
    }
}

/// The markers of a file that matter here.
#[derive(Default)]
struct Markers {
    scanned: bool,
    restarts: bool,
    /// The picture's end, or something that is no marker, which a decoder judges better.
    ended: bool,
}

impl Markers {
    fn of(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let mut place = 2;
        while let Some(&[first, marker]) = bytes.get(place..place + 2) {
            match (first, marker) {
                (0xff, 0xff) => place += 1,
                (0xff, 0x01 | 0xd0..=0xd8) => place += 2,
                (0xff, END) | (0..0xff, _) => {
                    found.ended = true;
                    return found;
                }
                (0xff, _) => {
                    let Some(&[high, low]) = bytes.get(place + 2..place + 4) else {
                        return found;
                    };
                    place += 2 + usize::from(u16::from_be_bytes([high, low]));
                    found.restarts |= marker == RESTARTS;
                    if marker == SCAN {
                        found.scanned = true;
                        place = after_scan(bytes, place);
                    }
                }
            }
        }
        found
    }
}

/// The place of the next marker that is no restart.
fn after_scan(bytes: &[u8], start: usize) -> usize {
    let mut pairs = bytes.get(start..).unwrap_or_default().windows(2);
    let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
    let found = pairs.position(marker);
    found.map_or(bytes.len(), |at| start + at)
}
