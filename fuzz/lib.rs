//! What the fuzz targets have in common: bytes are a weight file, and every tensor in it is read.

use std::sync::Arc;

use x2i_core::weights::{Component, FileFormat, MemorySource, WeightFile, Weights};

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
            let elements = weights.shape(name).map(|shape| shape.iter().product::<usize>());
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
