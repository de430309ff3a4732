//! SentencePiece's `precompiled_charsmap`: the check that its table stays inside itself.
//!
//! The map is a trie of 32-bit units behind its length in bytes, then texts that end with a zero byte.
//! The `tokenizers` crate (0.22) follows the trie without looking (a panic), so a map is checked here
//! before it gets it.

/// True for a value: its lower bits are a place in the texts.
const LEAF: u32 = 1 << 31;
/// True where a value hangs at the node.
const HAS_LEAF: u32 = 1 << 8;

/// Checks a map.
///
/// # Errors
/// What is wrong with it, to follow the words "its character map".
pub(super) fn check(map: &[u8]) -> Result<(), String> {
    let (length, rest) = map.split_first_chunk::<4>().ok_or("is cut short")?;
    let length = u32::from_le_bytes(*length) as usize;
    if !length.is_multiple_of(4) || length == 0 || length > rest.len() {
        return Err(format!(
            "has a table of {length} bytes, {} are there",
            rest.len()
        ));
    }
    let (table, texts) = rest.split_at(length);
    let texts = std::str::from_utf8(texts).map_err(|_| "has texts that are not UTF-8")?;
    let units: Vec<u32> = table
        .as_chunks()
        .0
        .iter()
        .copied()
        .map(u32::from_le_bytes)
        .collect();
    let inside = |place: usize| place < texts.len() && texts.is_char_boundary(place);
    for (place, &unit) in units.iter().enumerate() {
        if unit & LEAF != 0 {
            continue;
        }
        let children = place ^ offset(unit);
        // A child of any label is looked at.
        if children | 0xFF >= units.len() {
            return Err(format!("leads out of its table at unit {place}"));
        }
        let value = (units[children] & !LEAF) as usize;
        if unit & HAS_LEAF != 0 && !inside(value) {
            return Err(format!("leads out of its texts at unit {place}"));
        }
    }
    Ok(())
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A map whose one rule makes `b` an `a`: the root's children are at 256, the value of `b` at 512.
    pub(in crate::teacher) fn b_to_a() -> Vec<u8> {
        let mut units = vec![0u32; 768];
        units[0] = 256 << 10;
        let node = 256 ^ usize::from(b'b');
        // Its children lie at `node ^ offset`.
        let to = 512;
        units[node] = ((node ^ to) as u32) << 10 | HAS_LEAF | u32::from(b'b');
        units[to] = LEAF;
        let mut map = (units.len() as u32 * 4).to_le_bytes().to_vec();
        map.extend(units.into_iter().flat_map(u32::to_le_bytes));
        map.extend(b"a\0");
        map
    }

    #[test]
    fn a_map_that_stays_inside_itself_passes() {
        assert_eq!(check(&b_to_a()), Ok(()));
    }

    #[test]
    fn what_leads_out_of_a_map_is_found() {
        let changed = |unit: usize, value: u32| {
            let mut map = b_to_a();
            map[4 + 4 * unit..8 + 4 * unit].copy_from_slice(&value.to_le_bytes());
            check(&map).unwrap_err()
        };
        assert_eq!(changed(0, 4096 << 10), "leads out of its table at unit 0");
        let node = 256 ^ usize::from(b'b');
        let said = format!("leads out of its texts at unit {node}");
        assert_eq!(changed(512, LEAF | 2), said);
        for (map, message) in [
            (vec![], "is cut short"),
            (vec![0; 4], "has a table of 0 bytes"),
            (vec![255; 8], "has a table of 4294967295 bytes"),
            (b_to_a()[..400].to_vec(), "has a table of 3072 bytes"),
        ] {
            let error = check(&map).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
