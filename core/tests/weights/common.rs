//! Files built in memory, and the few calls that every test makes.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, DeviceType};
use x2i_core::weights::{MemorySource, StoredType, WeightFile, WeightSource};

/// What messages call a file made here.
pub const FILE: &str = "test-file";

pub fn source(bytes: Vec<u8>) -> Arc<dyn WeightSource> {
    Arc::new(MemorySource::new(FILE, bytes))
}

pub fn open(bytes: Vec<u8>) -> x2i_core::Result<WeightFile> {
    pollster::block_on(WeightFile::open(source(bytes)))
}

/// Opens a file that must be sound.
pub fn opened(bytes: Vec<u8>) -> WeightFile {
    open(bytes).unwrap_or_else(|error| panic!("{error}"))
}

/// The one sentence that a broken file is refused with, checked to name the file.
pub fn refusal(bytes: Vec<u8>) -> String {
    let message = match open(bytes) {
        Ok(file) => panic!("{file:?} was opened"),
        Err(error) => error.to_string(),
    };
    assert!(message.starts_with(&format!("{FILE}: ")), "{message}");
    assert!(
        !message.contains('\n') && !message.ends_with('.'),
        "{message}"
    );
    message
}

/// Asserts that the file is refused with a message that holds all of `parts`.
#[track_caller]
pub fn assert_refused(bytes: Vec<u8>, parts: &[&str]) {
    let message = refusal(bytes);
    for part in parts {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
}

/// A tensor's values as f32.
pub fn values(file: &WeightFile, name: &str) -> Vec<f32> {
    let tensor = pollster::block_on(file.read(name)).unwrap_or_else(|error| panic!("{error}"));
    tensor.to_f32()
}

/// The CPU, and the last wgpu adapter where there is one.
pub fn devices() -> Vec<Device> {
    let wgpu = Device::enumerate(DeviceType::Wgpu).into_vec().pop();
    [Device::flex()].into_iter().chain(wgpu).collect()
}

pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A golden case's folder: `X2I_GOLDENS`, or the repository's own copy.
pub fn golden(path: &str) -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens");
    let root = std::env::var_os("X2I_GOLDENS").map_or(PathBuf::from(own), PathBuf::from);
    root.join(path)
}

/// The bytes of a golden file.
pub fn golden_bytes(path: &str) -> Vec<u8> {
    let path = golden(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A safetensors file of a header's JSON as it is, and data.
pub fn raw_safetensors(json: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend(data);
    bytes
}

/// A tensor of a file to be made.
#[derive(Debug, Clone)]
pub struct Made {
    pub name: String,
    pub stored: StoredType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Made {
    /// An f32 tensor whose values count up from `first`, so that any mix-up shows.
    pub fn counting(name: &str, shape: &[usize], first: f32) -> Self {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| first + i as f32).collect();
        Self {
            name: name.to_owned(),
            stored: StoredType::F32,
            shape: shape.to_vec(),
            bytes: f32_bytes(&values),
        }
    }
}

/// A safetensors file of these tensors.
pub fn safetensors(tensors: &[Made]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut entries = Vec::new();
    for tensor in tensors {
        let begin = data.len();
        data.extend(&tensor.bytes);
        let dtype = tensor.stored.to_string().to_uppercase();
        entries.push(format!(
            r#""{}":{{"dtype":"{dtype}","shape":{:?},"data_offsets":[{begin},{}]}}"#,
            tensor.name,
            tensor.shape,
            data.len()
        ));
    }
    raw_safetensors(&format!("{{{}}}", entries.join(",")), &data)
}

/// One entry of a zip archive to be made; `torch.save` stores entries as they are.
#[derive(Debug, Clone)]
pub struct Zipped {
    pub path: String,
    pub bytes: Vec<u8>,
    pub method: u16,
    pub flags: u16,
}

impl Zipped {
    pub fn stored(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.to_owned(),
            bytes: bytes.into(),
            method: 0,
            flags: 0,
        }
    }
}

/// Whether sizes and places go to the 64-bit fields, as they do for archives over 4 GB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Bits32,
    Bits64,
}

/// A zip archive of these entries, without checksums.
pub fn zip(entries: &[Zipped], width: Width) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    let narrow = |number: usize| match width {
        Width::Bits32 => (number as u32).to_le_bytes(),
        Width::Bits64 => u32::MAX.to_le_bytes(),
    };
    for entry in entries {
        let (at, length) = (bytes.len(), entry.bytes.len());
        let name_len = (entry.path.len() as u16).to_le_bytes();
        bytes.extend(b"PK\x03\x04\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend(name_len);
        bytes.extend(3u16.to_le_bytes()); // as PyTorch does, padding in an extra field
        bytes.extend(entry.path.as_bytes());
        bytes.extend(b"FB\0");
        bytes.extend(&entry.bytes);

        directory.extend(b"PK\x01\x02\x2d\0\x2d\0");
        directory.extend(entry.flags.to_le_bytes());
        directory.extend(entry.method.to_le_bytes());
        directory.extend([0; 8]);
        directory.extend(narrow(length));
        directory.extend(narrow(length));
        directory.extend(name_len);
        let extra: u16 = if width == Width::Bits64 { 28 } else { 0 };
        directory.extend(extra.to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(narrow(at));
        directory.extend(entry.path.as_bytes());
        if width == Width::Bits64 {
            directory.extend([1, 0, 24, 0]);
            for number in [length, length, at] {
                directory.extend((number as u64).to_le_bytes());
            }
        }
    }
    let (start, count) = (bytes.len(), entries.len());
    bytes.extend(&directory);
    if width == Width::Bits64 {
        let record = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [count, count, directory.len(), start] {
            bytes.extend((number as u64).to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(record.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    let narrow_count = match width {
        Width::Bits32 => (count as u16).to_le_bytes(),
        Width::Bits64 => u16::MAX.to_le_bytes(),
    };
    bytes.extend(narrow_count);
    bytes.extend(narrow_count);
    bytes.extend(narrow(directory.len()));
    bytes.extend(narrow(start));
    bytes.extend([0, 0]);
    bytes
}

/// A pickle written instruction by instruction.
#[derive(Debug, Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    /// Instructions as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        let length = (text.len() as u32).to_le_bytes();
        self.raw(b"X").raw(&length).raw(text.as_bytes())
    }

    pub fn int(self, number: i32) -> Self {
        self.raw(b"J").raw(&number.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn tuple(self, numbers: &[i32]) -> Self {
        numbers
            .iter()
            .fold(self.raw(b"("), |p, &n| p.int(n))
            .raw(b"t")
    }

    /// A call of `_rebuild_tensor_v2` for a view of an f32 storage.
    pub fn tensor(self, key: &str, elements: i32, start: i32, size: &[i32], step: &[i32]) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", "FloatStorage")
            .text(key)
            .text("cpu")
            .int(elements)
            .raw(b"tQ")
            .int(start)
            .tuple(size)
            .tuple(step)
            .raw(b"\x89}tR")
    }

    pub fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// A `torch.save` file of this pickle, whose storages are "0", "1", ...
pub fn torch_zip(pickle: Vec<u8>, storages: &[Vec<u8>]) -> Vec<u8> {
    zip(&torch_entries(pickle, storages), Width::Bits32)
}

pub fn torch_entries(pickle: Vec<u8>, storages: &[Vec<u8>]) -> Vec<Zipped> {
    let mut entries = vec![
        Zipped::stored("archive/data.pkl", pickle),
        Zipped::stored("archive/byteorder", *b"little"),
    ];
    for (key, bytes) in storages.iter().enumerate() {
        entries.push(Zipped::stored(
            &format!("archive/data/{key}"),
            bytes.clone(),
        ));
    }
    entries
}
