//! The `meta` box of a HEIF file: its items, what they refer to, their properties, and where their bytes
//! are.
//!
//! Source: ISO/IEC 14496-12, 8.11, and ISO/IEC 23008-12, 9.3. Not here: items in other files, and those
//! made of other items' bytes.

use std::collections::BTreeMap;

use super::boxes::{Name, Reader, boxes, find, versioned};
use crate::media::limits::{HEIF_EXTENTS, HEIF_ITEMS, HEIF_META};

/// The box, read.
pub struct Meta<'a> {
    /// The picture that is shown.
    pub primary: u32,
    types: BTreeMap<u32, Name>,
    references: Vec<Reference>,
    properties: Vec<(Name, &'a [u8])>,
    /// Places in `properties`, by item, in the order in which they apply.
    of_item: BTreeMap<u32, Vec<usize>>,
    places: BTreeMap<u32, Place>,
    /// The bytes of small items.
    data: &'a [u8],
}

struct Reference {
    kind: Name,
    from: u32,
    to: Vec<u32>,
}

struct Place {
    within: Within,
    /// Where each part begins, and its length; 0 is all that follows.
    extents: Vec<(u64, u64)>,
}

#[derive(Clone, Copy)]
enum Within {
    File,
    Data,
    Elsewhere,
}

impl<'a> Meta<'a> {
    /// Reads the box of a file; `None` where it has none, or one that is broken or beyond the budgets.
    pub fn of(file: &'a [u8]) -> Option<Self> {
        let body = find(file, b"meta").filter(|body| body.len() as u64 <= HEIF_META)?;
        let (_, _, Reader(body)) = versioned(body)?;
        let (version, _, mut primary) = versioned(find(body, b"pitm")?)?;
        let groups = find(body, b"iprp")?;
        Some(Self {
            primary: primary.id(version > 0)?,
            types: types(find(body, b"iinf")?)?,
            references: match find(body, b"iref") {
                Some(body) => references(body)?,
                None => vec![],
            },
            properties: boxes(find(groups, b"ipco")?).collect(),
            of_item: associations(groups)?,
            places: places(find(body, b"iloc")?)?,
            data: find(body, b"idat").unwrap_or_default(),
        })
    }

    /// The type of an item, such as `hvc1` or `grid`.
    pub fn type_of(&self, item: u32) -> Option<Name> {
        self.types.get(&item).copied()
    }

    /// The items that one refers to.
    pub fn referred(&self, kind: &Name, from: u32) -> &[u32] {
        let mut found = self.references.iter();
        let found = found.find(|reference| reference.kind == *kind && reference.from == from);
        found.map_or(&[], |reference| &reference.to)
    }

    /// The items that refer to one.
    pub fn referring(&self, kind: &Name, to: u32) -> impl Iterator<Item = u32> {
        let found = self.references.iter();
        let found =
            found.filter(move |reference| reference.kind == *kind && reference.to.contains(&to));
        found.map(|reference| reference.from)
    }

    /// The properties of an item in their order.
    pub fn properties(&self, item: u32) -> impl Iterator<Item = (Name, &'a [u8])> {
        let places = self.of_item.get(&item).into_iter().flatten();
        places.filter_map(|&place| self.properties.get(place).copied())
    }

    /// The body of an item's first property of this name.
    pub fn property(&self, item: u32, name: &Name) -> Option<&'a [u8]> {
        let mut all = self.properties(item);
        all.find_map(|(found, body)| (found == *name).then_some(body))
    }

    /// The bytes of an item, at most `most`.
    ///
    /// # Errors
    /// The reason, when they are not all there, more than that, or in another file.
    pub fn bytes(&self, file: &[u8], item: u32, most: usize) -> Result<Vec<u8>, String> {
        let place = self.places.get(&item);
        let place = place.ok_or_else(|| format!("its item {item} is nowhere"))?;
        let whole = match place.within {
            Within::File => file,
            Within::Data => self.data,
            Within::Elsewhere => return Err(format!("its item {item} is in another file")),
        };
        let mut bytes = vec![];
        for &(start, length) in &place.extents {
            let rest = usize::try_from(start).ok();
            let rest = rest
                .and_then(|start| whole.get(start..))
                .unwrap_or_default();
            let part = match usize::try_from(length) {
                Ok(0) => Some(rest),
                Ok(length) => rest.get(..length),
                Err(_) => None,
            };
            let part = part.filter(|part| !part.is_empty());
            let part =
                part.ok_or_else(|| format!("is cut short: its item {item} lies beyond its end"))?;
            if part.len() > most - bytes.len() {
                return Err("has items that lie in one another".into());
            }
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }
}

fn types(body: &[u8]) -> Option<BTreeMap<u32, Name>> {
    let (version, _, mut rest) = versioned(body)?;
    rest.id(version > 0)?; // how many there are
    let mut types = BTreeMap::new();
    for (name, body) in boxes(rest.0) {
        let (version, _, mut entry) = versioned(body)?;
        // Earlier versions name no type.
        if name != *b"infe" || version < 2 {
            continue;
        }
        let item = entry.id(version > 2)?;
        entry.u16()?; // whether it is protected
        types.insert(item, entry.take(4)?.try_into().ok()?);
    }
    (types.len() <= HEIF_ITEMS).then_some(types)
}

fn references(body: &[u8]) -> Option<Vec<Reference>> {
    let (version, _, rest) = versioned(body)?;
    let wide = version > 0;
    let reference = |(kind, body)| {
        let mut rest = Reader(body);
        let from = rest.id(wide)?;
        let count = rest.u16()?;
        let to = (0..count).map(|_| rest.id(wide)).collect::<Option<_>>()?;
        Some(Reference { kind, from, to })
    };
    boxes(rest.0).map(reference).collect()
}

/// Places of properties by item, from all `ipma` boxes.
fn associations(groups: &[u8]) -> Option<BTreeMap<u32, Vec<usize>>> {
    let mut of_item: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (_, body) in boxes(groups).filter(|(name, _)| name == b"ipma") {
        let (version, flags, mut rest) = versioned(body)?;
        for _ in 0..rest.u32()? {
            let item = rest.id(version > 0)?;
            let places = of_item.entry(item).or_default();
            for _ in 0..rest.u8()? {
                // The highest bit says whether the property must be understood.
                let number = match flags & 1 {
                    1 => rest.u16()? & 0x7fff,
                    _ => u16::from(rest.u8()? & 0x7f),
                };
                places.extend(usize::from(number).checked_sub(1));
            }
        }
    }
    Some(of_item)
}

fn places(body: &[u8]) -> Option<BTreeMap<u32, Place>> {
    let (version, _, mut rest) = versioned(body)?;
    let sizes = rest.u16()?;
    let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| usize::from(sizes >> shift & 15));
    if [offset, length, base, index].iter().any(|&size| size > 8) {
        return None;
    }
    let (mut places, mut extents) = (BTreeMap::new(), 0);
    for _ in 0..rest.id(version > 1)? {
        let item = rest.id(version > 1)?;
        let method = if version > 0 { rest.u16()? & 15 } else { 0 };
        let other_file = rest.u16()?;
        let base = rest.uint(base)?;
        let count = usize::from(rest.u16()?);
        extents += count;
        if extents > HEIF_EXTENTS {
            return None;
        }
        let mut extent = || {
            if version > 0 {
                rest.uint(index)?;
            }
            let start = base.checked_add(rest.uint(offset)?)?;
            Some((start, rest.uint(length)?))
        };
        let place = Place {
            extents: (0..count).map(|_| extent()).collect::<Option<_>>()?,
            within: match (method, other_file) {
                (0, 0) => Within::File,
                (1, 0) => Within::Data,
                _ => Within::Elsewhere,
            },
        };
        places.insert(item, place);
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let length = (body.len() as u32 + 8).to_be_bytes();
        [&length[..], name, &body].concat()
    }

    /// A grid of two tiles, whose own bytes are in the box, with turns and an alpha plane.
    fn example() -> Vec<u8> {
        const ZERO: &[u8] = &[0; 4];
        let entry = |id: u8, kind: &[u8]| boxed(b"infe", &[&[2, 0, 0, 0, 0, id, 0, 0], kind, &[0]]);
        let entries = [
            entry(1, b"grid"),
            entry(2, b"av01"),
            entry(3, b"av01"),
            entry(4, b"av01"),
        ];
        let iinf = boxed(b"iinf", &[ZERO, &[0, 4], &entries.concat()]);
        let dimg = boxed(b"dimg", &[&[0, 1, 0, 2, 0, 2, 0, 3]]);
        let auxl = boxed(b"auxl", &[&[0, 4, 0, 1, 0, 1]]);
        let ispe = boxed(b"ispe", &[ZERO, &[0, 0, 0, 8, 0, 0, 0, 9]]);
        let properties = [ispe, boxed(b"irot", &[&[1]]), boxed(b"imir", &[&[0]])];
        let of_one = [0, 0, 0, 1, 0, 1, 3, 0x82, 3, 1];
        let iprp = [
            boxed(b"ipco", &[&properties.concat()]),
            boxed(b"ipma", &[ZERO, &of_one]),
        ];
        let method_1 = [
            1, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2,
        ];
        let parts = [
            boxed(b"pitm", &[ZERO, &[0, 1]]),
            iinf,
            boxed(b"iref", &[ZERO, &dimg, &auxl]),
            boxed(b"iprp", &[&iprp.concat()]),
            boxed(b"idat", &[b"xyz"]),
            boxed(b"iloc", &[&method_1]),
        ];
        boxed(b"meta", &[ZERO, &parts.concat()])
    }

    #[test]
    fn items_their_references_properties_and_bytes_are_found() {
        let file = example();
        let meta = Meta::of(&file).unwrap();
        assert_eq!((meta.primary, meta.type_of(1)), (1, Some(*b"grid")));
        assert_eq!(meta.referred(b"dimg", 1), [2, 3]);
        assert_eq!(meta.referring(b"auxl", 1).collect::<Vec<_>>(), [4]);
        let names: Vec<Name> = meta.properties(1).map(|(name, _)| name).collect();
        assert_eq!(names, [*b"irot", *b"imir", *b"ispe"]);
        assert_eq!(meta.bytes(&file, 1, 2).unwrap(), b"yz");
        assert!(
            meta.bytes(&file, 1, 1)
                .unwrap_err()
                .contains("in one another")
        );
        assert!(meta.bytes(&file, 2, 1).unwrap_err().contains("nowhere"));
    }

    #[test]
    fn a_box_that_is_cut_or_changed_anywhere_is_read_or_refused() {
        let whole = example();
        for length in 0..whole.len() {
            assert!(Meta::of(&whole[..length]).is_none(), "{length}");
        }
        for place in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut file = whole.clone();
                file[place] = value;
                if let Some(meta) = Meta::of(&file) {
                    let _ = (meta.bytes(&file, 1, 9), meta.properties(1).count());
                }
            }
        }
    }

    #[test]
    fn places_without_bytes_are_not_counted_up() {
        let many = [
            1, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0xff, 0xff, 0, 2, 0, 1, 0, 0, 0xff, 0xff,
        ];
        assert!(places(&many).is_none());
    }
}
