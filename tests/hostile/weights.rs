//! Mutations of weight files: headers, types, shapes, values, lengths.

use serde_json::{Value, json};

use crate::case::Expect;
use crate::random::Random;

/// A changed weight file.
pub struct Mutation {
    pub kind: &'static str,
    pub what: String,
    /// The tensor that was changed, if it was one.
    pub tensor: Option<String>,
    pub bytes: Vec<u8>,
    pub expect: Expect,
}

impl Mutation {
    fn new(kind: &'static str, what: impl Into<String>, bytes: Vec<u8>, expect: Expect) -> Self {
        Self {
            kind,
            what: what.into(),
            tensor: None,
            bytes,
            expect,
        }
    }

    fn of(self, tensor: &str) -> Self {
        Self {
            what: format!("{} {tensor}", self.what),
            tensor: Some(tensor.to_owned()),
            ..self
        }
    }
}

/// Cut files, changed bytes of the first part, and random files: for any format.
pub fn raw(bytes: &[u8], count: usize, random: &mut Random) -> Vec<Mutation> {
    let mutate = |index: usize| match index % 4 {
        0 => {
            let length = random.below(bytes.len());
            let kept = bytes[..length].to_vec();
            Mutation::new(
                "weights: cut",
                format!("to {length} bytes"),
                kept,
                Expect::Refused,
            )
        }
        1 => {
            let mut changed = bytes.to_vec();
            let at = random.below(bytes.len().min(4096));
            changed[at] ^= 1 << random.below(8);
            Mutation::new(
                "weights: a bit of the header",
                format!("at {at}"),
                changed,
                Expect::Either,
            )
        }
        2 => {
            let mut changed = bytes.to_vec();
            let at = random.below(bytes.len().min(4096).saturating_sub(8).max(1));
            let value = *random.choose(&[u64::MAX, 1 << 63, 1 << 40, 1 << 31, 0]);
            changed[at..at + 8].copy_from_slice(&value.to_le_bytes());
            Mutation::new(
                "weights: a number of the header",
                format!("{value} at {at}"),
                changed,
                Expect::Either,
            )
        }
        _ => {
            let length = random.below(5000);
            let noise = (0..length).map(|_| random.bits() as u8).collect();
            Mutation::new(
                "weights: noise",
                format!("{length} bytes"),
                noise,
                Expect::Refused,
            )
        }
    };
    (0..count).map(mutate).collect()
}

/// A safetensors file that can be changed.
struct File {
    header: Value,
    data: Vec<u8>,
}

impl File {
    fn parse(bytes: &[u8]) -> Self {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        Self {
            header: serde_json::from_slice(&bytes[8..8 + length]).expect("a header"),
            data: bytes[8 + length..].to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let header = self.header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        [&length, header.as_bytes(), &self.data].concat()
    }

    fn tensors(&self) -> Vec<String> {
        let names = self.header.as_object().expect("an object").keys();
        names
            .filter(|name| *name != "__metadata__")
            .cloned()
            .collect()
    }

    fn range(&self, tensor: &str) -> std::ops::Range<usize> {
        let at = |index: usize| {
            self.header[tensor]["data_offsets"][index]
                .as_u64()
                .expect("an offset") as usize
        };
        at(0)..at(1)
    }

    /// Appends a tensor of f32.
    fn append(&mut self, name: &str, shape: &[usize], value: f32) {
        let start = self.data.len();
        let count: usize = shape.iter().product();
        self.data.extend(value.to_le_bytes().repeat(count));
        self.header[name] =
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, self.data.len()]});
    }
}

/// Mutations of a safetensors file of f32.
pub fn safetensors(bytes: &[u8], count: usize, random: &mut Random) -> Vec<Mutation> {
    let tensors = File::parse(bytes).tensors();
    let matrices: Vec<String> = tensors
        .iter()
        .filter(|name| name.ends_with("weight"))
        .cloned()
        .collect();
    let mutate = |index: usize| {
        let name = random.choose(&matrices).clone();
        match index % 12 {
            0..6 => of_header(index % 12, bytes, &name),
            6 | 7 => not_a_number(bytes, &name, index % 12 == 6, random),
            _ => with_companion(bytes, &name, random),
        }
    };
    (0..count).map(mutate).collect()
}

/// A tensor that is renamed, removed, or of another type or shape.
fn of_header(change: usize, bytes: &[u8], name: &str) -> Mutation {
    let mut file = File::parse(bytes);
    let entries = file.header.as_object_mut().expect("an object");
    let what = match change {
        0 => {
            let entry = entries.remove(name).expect("a tensor");
            entries.insert(format!("{name}_"), entry);
            "renamed"
        }
        1 => {
            entries.remove(name);
            "removed"
        }
        2 => {
            entries[name]["dtype"] = "I32".into();
            "of whole numbers"
        }
        3 => {
            entries[name]["dtype"] = "F8_E9M9".into();
            "of an unknown type"
        }
        4 => {
            let shape = entries[name]["shape"].as_array_mut().expect("a shape");
            shape.insert(0, 2.into());
            "with another axis"
        }
        _ => {
            let end = entries[name]["data_offsets"][1]
                .as_u64()
                .expect("an offset");
            entries[name]["data_offsets"][1] = (end + (1 << 40)).into();
            "beyond the file"
        }
    };
    Mutation::new(
        "weights: a tensor of the header",
        what,
        file.bytes(),
        Expect::Refused,
    )
    .of(name)
}

fn not_a_number(bytes: &[u8], name: &str, nan: bool, random: &mut Random) -> Mutation {
    let mut file = File::parse(bytes);
    let range = file.range(name);
    let at = range.start + random.below(range.len() / 4) * 4;
    let (value, what) = match nan {
        true => (f32::NAN, "NaN in"),
        false => (f32::INFINITY, "infinity in"),
    };
    file.data[at..at + 4].copy_from_slice(&value.to_le_bytes());
    Mutation::new("weights: not finite", what, file.bytes(), Expect::Either).of(name)
}

/// What a quantizer leaves beside a weight: the weight alone is no weight then.
fn with_companion(bytes: &[u8], name: &str, random: &mut Random) -> Mutation {
    let mut file = File::parse(bytes);
    let stem = name.strip_suffix("weight").unwrap_or(name);
    let rows = file.header[name]["shape"][0].as_u64().unwrap_or(1) as usize;
    let companion = *random.choose(&[
        "weight_scale",
        "SCB",
        "scale_weight",
        "weight_zero_point",
        "weight.absmax",
        "qzeros",
        "unknown",
    ]);
    let companion = format!("{stem}{companion}");
    file.append(&companion, &[rows], 0.37);
    let what = format!("{companion} beside");
    Mutation::new("weights: a companion", what, file.bytes(), Expect::Refused).of(name)
}
