//! Files larger than any memory: bytes are made from positions, so that offsets are all that counts.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Device;
use x2i_core::Result;
use x2i_core::weights::{Component, LocalBoxFuture, WeightFile, WeightSource, Weights};

use crate::common::FILE;

const GIB: u64 = 1 << 30;

/// A header, and after it the low byte of every position's number of GiB.
struct Endless {
    header: Vec<u8>,
    len: u64,
}

impl WeightSource for Endless {
    fn name(&self) -> &str {
        FILE
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        assert!(range.end - range.start < GIB, "{range:?} at once");
        let byte = |at: u64| match usize::try_from(at) {
            Ok(at) if at < self.header.len() => self.header[at],
            _ => (at / GIB) as u8,
        };
        Box::pin(std::future::ready(Ok(range.map(byte).collect())))
    }
}

/// A safetensors file of `(name, dtype, shape, bytes)`.
fn safetensors(tensors: &[(&str, &str, &[u64], u64)]) -> Endless {
    let mut end = 0;
    let entries = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let begin = end;
        end += bytes;
        format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
        )
    });
    let json = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json.as_bytes());
    let len = header.len() as u64 + end;
    Endless { header, len }
}

/// A GGUF file of one I8 tensor of 8 bytes at `offset`.
fn gguf(name: &str, offset: u64) -> Endless {
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend(1u64.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend((name.len() as u64).to_le_bytes());
    header.extend(name.as_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend(8u64.to_le_bytes());
    header.extend(24u32.to_le_bytes()); // I8
    header.extend(offset.to_le_bytes());
    let len = header.len().next_multiple_of(32) as u64 + offset + 8;
    Endless { header, len }
}

fn bytes(file: Endless, name: &str) -> Vec<u8> {
    pollster::block_on(async {
        let file = WeightFile::open(Arc::new(file)).await.unwrap();
        file.read(name).await.unwrap().bytes.into_owned()
    })
}

#[test]
fn a_tensor_behind_5_gib_is_read_from_there() {
    let before: (&str, &str, &[u64], u64) = ("a", "I8", &[5, GIB], 5 * GIB);
    let file = safetensors(&[before, ("b", "I8", &[8], 8)]);
    assert_eq!(bytes(file, "b"), [5; 8]);
    assert_eq!(bytes(gguf("b", 7 * GIB), "b"), [7; 8]);
}

#[test]
fn the_bytes_of_a_part_are_counted_over_4_gib() {
    let tensors: [(&str, &str, &[u64], u64); 3] = [
        ("decoder.conv_in.weight", "F8_E4M3", &[3, GIB], 3 * GIB),
        ("decoder.conv_out.weight", "F8_E4M3", &[3, GIB], 3 * GIB),
        ("encoder.conv_in.weight", "F8_E4M3", &[GIB], GIB),
    ];
    let source = Arc::new(safetensors(&tensors));
    let weights = pollster::block_on(Weights::open("vae", Component::Vae, vec![source])).unwrap();
    assert_eq!(weights.byte_len(""), 7 * GIB);
    assert_eq!(weights.byte_len("decoder"), 6 * GIB);
}

#[test]
fn a_tensor_that_no_memory_holds_is_refused_by_name() {
    let rows = 1u64 << 61;
    let tensor: (&str, &str, &[u64], u64) = ("conv_in.weight", "F32", &[rows], 4 * rows);
    let file = Arc::new(safetensors(&[tensor]));
    let message = pollster::block_on(async {
        let file = WeightFile::open(file).await.unwrap();
        file.read("conv_in.weight").await.unwrap_err().to_string()
    });
    assert!(
        message.starts_with(&format!(
            "{FILE}: tensor `conv_in.weight` takes 9223372036854775808 bytes; at most "
        )),
        "{message}"
    );
}

#[test]
fn a_tensor_that_only_its_blocks_fit_is_refused_as_f32() {
    let (rows, columns) = (1usize << 40, 1usize << 21);
    let tensor: (&str, &str, &[u64], u64) = (
        "decoder.norm_out.weight",
        "F8_E4M3",
        &[rows as u64, columns as u64],
        1 << 61,
    );
    let source = Arc::new(safetensors(&[tensor]));
    let weights = pollster::block_on(Weights::open("vae", Component::Vae, vec![source])).unwrap();
    let device = Device::flex();
    let read = weights.scope(&device);
    let read = read.tensor("decoder.norm_out.weight", [rows, columns]);
    let message = pollster::block_on(read).unwrap_err().to_string();
    assert!(message.contains("as f32 takes"), "{message}");
}
