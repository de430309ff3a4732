//! What the fuzz targets have in common: bytes are a weight file, whose tensors are read, or the parts
//! of a text, or a folder of files.

pub mod adapter;

use std::collections::BTreeMap;
use std::sync::Arc;

use x2i_core::model::ModelSource;
use x2i_core::weights::{
    Component, FileFormat, LocalBoxFuture, MemorySource, WeightFile, WeightSource, Weights,
};
use x2i_core::{Error, Result};

/// Reading more numbers than this teaches nothing and takes long.
const MOST_NUMBERS: u64 = 1 << 16;

/// Opens `bytes`, and where they are a file of one of `formats` reads its tensors, whole and in
/// parts, and puts them under our names. An error is as good as a success; a panic is a finding.
pub fn read(bytes: &[u8], formats: &[FileFormat]) {
    let Some(file) = open(bytes) else { return };
    if !formats.contains(&file.format()) {
        return;
    }
    for (name, info) in file.tensors() {
        if info.elements() > MOST_NUMBERS {
            continue;
        }
        let Ok(tensor) = pollster::block_on(file.read(name)) else {
            continue;
        };
        let elements = info.elements() as usize;
        assert_eq!(tensor.to_f32().len(), elements, "{name}");
        let middle = elements as u64 / 2 / 256 * 256;
        let parts = [0..middle, middle..elements as u64].map(|part| {
            let part = pollster::block_on(file.read_part(name, part));
            part.map(|bytes| bytes.into_owned()).unwrap_or_default()
        });
        assert!(parts.concat() == *tensor.bytes, "{name} in parts");
    }
    for component in [
        Component::Flux,
        Component::Vae,
        Component::AlignNet,
        Component::Qwen2_5Vl,
        Component::InternVl2_5,
        Component::MiniCpmO,
    ] {
        let Some(file) = open(bytes) else { return };
        let Ok(weights) = Weights::new("fuzz", component, vec![file]) else {
            continue;
        };
        for name in weights.names() {
            let elements = weights
                .shape(name)
                .map(|shape| shape.iter().product::<usize>());
            if elements.is_some_and(|elements| elements as u64 <= MOST_NUMBERS) {
                let read = pollster::block_on(weights.read(name));
                drop(read.map(|tensor| tensor.to_f32()));
            }
        }
    }
}

fn open(bytes: &[u8]) -> Option<WeightFile> {
    let source = Arc::new(MemorySource::new("fuzz", bytes.to_vec()));
    pollster::block_on(WeightFile::open(source)).ok()
}

/// The parts of an input, which lines of two dashes part.
pub fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    const LINE: &[u8] = b"\n--\n";
    let (mut parts, mut rest) = (vec![], bytes);
    while let Some(at) = rest.windows(LINE.len()).position(|window| window == LINE) {
        parts.push(&rest[..at]);
        rest = &rest[at + LINE.len()..];
    }
    parts.push(rest);
    parts
}

/// A folder of files in memory.
pub struct Folder(BTreeMap<String, Vec<u8>>);

impl Folder {
    /// The files of an input: each part is a path, the end of its line, and the file.
    pub fn of(bytes: &[u8]) -> Self {
        let files = parts(bytes).into_iter().map(|part| {
            let mut lines = part.splitn(2, |&byte| byte == b'\n');
            let path = String::from_utf8_lossy(lines.next().unwrap_or_default());
            (path.into_owned(), lines.next().unwrap_or_default().to_vec())
        });
        Self(files.collect())
    }
}

impl ModelSource for Folder {
    fn name(&self) -> &str {
        "fuzz"
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        let source = self
            .0
            .get(path)
            .map(|bytes| MemorySource::new(path, bytes.clone()));
        Box::pin(async move {
            match source {
                Some(source) => Ok(Arc::new(source) as Arc<dyn WeightSource>),
                None => Err(Error::MissingFile {
                    file: path.to_owned(),
                }),
            }
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>>> {
        let names = self.0.keys().filter_map(|path| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            (parent == folder).then(|| name.to_owned())
        });
        let names = names.collect();
        Box::pin(async move { Ok(names) })
    }
}
