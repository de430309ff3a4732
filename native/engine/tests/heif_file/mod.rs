//! Writes HEIF files: items with their properties, references between them, and their bytes behind.

/// A box.
pub fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 8).to_be_bytes();
    [&length[..], name, body].concat()
}

/// A box with a version.
fn versioned(name: &[u8; 4], version: u8, body: &[u8]) -> Vec<u8> {
    boxed(name, &[&[version, 0, 0, 0], body].concat())
}

/// An item: its type, its bytes and its property boxes.
#[derive(Clone)]
pub struct Item {
    kind: [u8; 4],
    pub data: Vec<u8>,
    properties: Vec<Vec<u8>>,
}

/// A file; items have the numbers 1, 2, ...
#[derive(Clone, Default)]
pub struct File {
    pub items: Vec<Item>,
    pub references: Vec<([u8; 4], u16, Vec<u16>)>,
    pub primary: u16,
}

impl File {
    /// Adds an item; returns its number.
    pub fn add(&mut self, item: Item) -> u16 {
        self.items.push(item);
        self.items.len() as u16
    }

    /// Adds a property to an item.
    pub fn describe(&mut self, item: u16, property: Vec<u8>) {
        self.items[usize::from(item) - 1].properties.push(property);
    }

    pub fn refer(&mut self, kind: &[u8; 4], from: u16, to: &[u16]) {
        self.references.push((*kind, from, to.to_vec()));
    }

    /// The bytes of the file; its brand is that of the first item's codec.
    pub fn bytes(&self) -> Vec<u8> {
        let brand = match &self.items[0].kind {
            b"av01" => b"avif",
            _ => b"heic",
        };
        let start = boxed(b"ftyp", &[&brand[..], &[0; 4], b"mif1", brand].concat());
        // The places of the bytes depend on the length of the boxes, which does not depend on them.
        let length = self.meta(0).len();
        let data: Vec<u8> = self
            .items
            .iter()
            .flat_map(|item| item.data.clone())
            .collect();
        let meta = self.meta(start.len() + length + 8);
        [start, meta, boxed(b"mdat", &data)].concat()
    }

    fn meta(&self, data: usize) -> Vec<u8> {
        let (mut entries, mut properties, mut of_items) = (vec![], vec![], vec![]);
        let (mut places, mut at, mut number) = (vec![], data as u32, 0);
        for (index, item) in self.items.iter().enumerate() {
            let id = (index as u16 + 1).to_be_bytes();
            let entry = [&id[..], &[0, 0], &item.kind, &[0]].concat();
            entries.extend(versioned(b"infe", 2, &entry));
            of_items.extend([id[0], id[1], item.properties.len() as u8]);
            for property in &item.properties {
                number += 1;
                of_items.push(number);
                properties.extend(property.clone());
            }
            places.extend([id[0], id[1], 0, 0, 0, 1]);
            places.extend(at.to_be_bytes());
            places.extend((item.data.len() as u32).to_be_bytes());
            at += item.data.len() as u32;
        }
        let count = self.items.len() as u16;
        let references = self.references.iter().flat_map(|(kind, from, to)| {
            let mut body = [from.to_be_bytes(), (to.len() as u16).to_be_bytes()].concat();
            body.extend(to.iter().flat_map(|item| item.to_be_bytes()));
            boxed(kind, &body)
        });
        let references: Vec<u8> = references.collect();
        let association = [&u32::from(count).to_be_bytes()[..], &of_items].concat();
        let groups = [
            boxed(b"ipco", &properties),
            versioned(b"ipma", 0, &association),
        ]
        .concat();
        let parts = [
            versioned(b"pitm", 0, &self.primary.to_be_bytes()),
            versioned(b"iinf", 0, &[&count.to_be_bytes()[..], &entries].concat()),
            versioned(b"iref", 0, &references),
            boxed(b"iprp", &groups),
            versioned(
                b"iloc",
                0,
                &[&[0x44, 0][..], &count.to_be_bytes(), &places].concat(),
            ),
        ];
        versioned(b"meta", 0, &parts.concat())
    }
}

/// The size of an item.
fn size([width, height]: [u32; 2]) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    versioned(b"ispe", 0, &sides)
}

/// A grid of tiles: its columns and rows, and its size.
pub fn grid([columns, rows]: [u8; 2], [width, height]: [u32; 2]) -> Item {
    let mut data = vec![0, 1, rows - 1, columns - 1];
    data.extend(width.to_be_bytes());
    data.extend(height.to_be_bytes());
    Item {
        kind: *b"grid",
        data,
        properties: vec![size([width, height])],
    }
}

/// A coded item from a raw HEVC stream of one picture.
pub fn hevc(stream: &[u8], sides: [u32; 2]) -> Item {
    let (mut parameters, mut data) = (vec![], vec![]);
    let mut count = 0;
    for unit in units(stream) {
        match unit[0] >> 1 & 0x3f {
            kind @ 32..=34 => {
                parameters.extend([kind, 0, 1]);
                parameters.extend((unit.len() as u16).to_be_bytes());
                parameters.extend(unit);
                count += 1;
            }
            0..=31 => {
                data.extend((unit.len() as u32).to_be_bytes());
                data.extend(unit);
            }
            _ => {} // comments of the encoder
        }
    }
    let mut header = vec![1; 21];
    header.extend([0xff, count]); // lengths of four bytes
    header.extend(parameters);
    Item {
        kind: *b"hvc1",
        data,
        properties: vec![size(sides), boxed(b"hvcC", &header)],
    }
}

/// The units between start codes.
fn units(stream: &[u8]) -> Vec<&[u8]> {
    let starts = stream.windows(3).enumerate();
    let starts: Vec<usize> = starts
        .filter(|(_, code)| *code == [0, 0, 1])
        .map(|(at, _)| at)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let unit = &stream[start + 3..end];
        // A start code may have one zero more.
        match end < stream.len() {
            true => unit.strip_suffix(&[0]).unwrap_or(unit),
            false => unit,
        }
    };
    starts.iter().zip(ends).map(unit).collect()
}

/// A coded item from an IVF file of one AV1 picture.
pub fn av1(ivf: &[u8], sides: [u32; 2]) -> Item {
    let length = u32::from_le_bytes(ivf[32..36].try_into().unwrap()) as usize;
    let frame = &ivf[44..44 + length];
    // Items have no delimiter in front.
    let data = frame.strip_prefix(&[0x12, 0]).unwrap_or(frame).to_vec();
    Item {
        kind: *b"av01",
        data,
        properties: vec![size(sides), boxed(b"av1C", &[0x81, 0x20, 0, 0])],
    }
}

/// An Exif item that states an orientation.
pub fn exif(orientation: u8) -> Item {
    let mut data = b"\0\0\0\x06Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    data.extend([orientation, 0, 0, 0, 0, 0, 0]);
    Item {
        kind: *b"Exif",
        data,
        properties: vec![],
    }
}

/// The property of colors by number: the matrix, and whether the range is full.
pub fn nclx(matrix: u8, is_full: bool) -> Vec<u8> {
    let body = [
        b'n',
        b'c',
        b'l',
        b'x',
        0,
        1,
        0,
        13,
        0,
        matrix,
        u8::from(is_full) << 7,
    ];
    boxed(b"colr", &body)
}

/// The property of an ICC profile.
pub fn profile(profile: &[u8]) -> Vec<u8> {
    boxed(b"colr", &[b"prof", profile].concat())
}
