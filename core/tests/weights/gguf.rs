//! GGUF: round trips through our writer, and one refusal per fault.

use proptest::prelude::*;
use x2i_core::weights::gguf::{GgufWriter, MetaType, MetaValue};
use x2i_core::weights::quant::quantize;
use x2i_core::weights::{Component, FileFormat, StoredType, Weights};

use crate::common::{FILE, assert_refused, open, opened, source, values};

type Planned = (String, StoredType, Vec<usize>);

/// A file of these tensors, the bytes of each given.
pub fn write(metadata: Vec<(String, MetaValue)>, tensors: Vec<(Planned, Vec<u8>)>) -> Vec<u8> {
    let planned = tensors.iter().map(|(planned, _)| planned.clone());
    let writer = GgufWriter::new(metadata, planned.collect()).expect("a plan");
    let length = writer.file_len();
    let mut body = writer.start("out.gguf", Vec::new()).expect("a header");
    for (_, bytes) in &tensors {
        body.write_tensor(bytes).expect("a tensor");
    }
    let bytes = body.finish().expect("all tensors");
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn plan(name: &str, stored: StoredType, shape: &[usize]) -> Planned {
    (name.to_owned(), stored, shape.to_vec())
}

/// A small sound file: two f32 tensors.
pub fn sample() -> Vec<u8> {
    let metadata = vec![
        ("general.architecture".to_owned(), MetaValue::from("x2i")),
        (
            "x2i.names".to_owned(),
            vec!["a".to_owned(), "b".to_owned()].into(),
        ),
    ];
    let tensors = vec![
        (plan("a.weight", StoredType::F32, &[2, 3]), vec![1; 24]),
        (plan("b.weight", StoredType::F32, &[1]), vec![2; 4]),
    ];
    write(metadata, tensors)
}

/// A header written field by field.
struct Raw(Vec<u8>);

impl Raw {
    fn new(version: u32, tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(keys)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    fn tensor(self, name: &str, dims: &[u64], ggml_type: u32, offset: u64) -> Self {
        let this = self.text(name).u32(dims.len() as u32);
        dims.iter()
            .fold(this, |this, &size| this.u64(size))
            .u32(ggml_type)
            .u64(offset)
    }

    /// Pads the header and appends data.
    fn data(mut self, length: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(32) + length, 0);
        self.0
    }
}

#[test]
fn every_metadata_type_comes_back() {
    let metadata: Vec<(String, MetaValue)> = [
        MetaValue::U8(1),
        MetaValue::I8(-1),
        MetaValue::U16(2),
        MetaValue::I16(-2),
        MetaValue::U32(3),
        MetaValue::I32(-3),
        MetaValue::F32(0.5),
        MetaValue::Bool(true),
        MetaValue::String("größe".to_owned()),
        MetaValue::Array(MetaType::U32, Vec::new()),
        MetaValue::Array(
            MetaType::Array,
            vec![MetaValue::Array(
                MetaType::Bool,
                vec![MetaValue::Bool(false)],
            )],
        ),
        MetaValue::U64(u64::MAX),
        MetaValue::I64(i64::MIN),
        MetaValue::F64(-0.25),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, value)| (format!("key.{i}"), value))
    .collect();
    let file = opened(write(metadata.clone(), Vec::new()));
    assert_eq!(file.format(), FileFormat::Gguf);
    assert_eq!(file.metadata(), metadata);
    assert_eq!(
        file.metadata_value("key.4").and_then(MetaValue::as_u64),
        Some(3)
    );
    assert_eq!(
        file.metadata_value("key.5").and_then(MetaValue::as_u64),
        None
    );
}

#[test]
fn the_header_is_the_formats_own() {
    let bytes = write(
        vec![("k".to_owned(), MetaValue::U32(7))],
        vec![(plan("w", StoredType::F32, &[2, 3]), vec![9; 24])],
    );
    let header = Raw::new(3, 1, 1)
        .text("k")
        .u32(4)
        .u32(7)
        .tensor("w", &[3, 2], 0, 0)
        .data(0);
    let (start, rest) = bytes.split_at(header.len());
    assert_eq!(start, header);
    assert_eq!(rest, [vec![9; 24], vec![0; 8]].concat());
}

#[test]
fn version_2_and_other_alignments_are_read() {
    let bytes = Raw::new(2, 1, 0).tensor("a", &[4], 0, 0).data(16);
    assert_eq!(values(&opened(bytes), "a"), [0.0; 4]);
    let metadata = vec![("general.alignment".to_owned(), MetaValue::U32(128))];
    let tensors = [1.0f32, 2.0].map(|value| {
        let name = format!("t{value}");
        (
            plan(&name, StoredType::F32, &[1]),
            value.to_le_bytes().to_vec(),
        )
    });
    let file = opened(write(metadata, tensors.to_vec()));
    assert_eq!(values(&file, "t1"), [1.0]);
    assert_eq!(values(&file, "t2"), [2.0]);
    let offset = |name: &str| file.tensors()[name].offset;
    assert_eq!(offset("t2") - offset("t1"), 128);
    assert_eq!(offset("t1") % 128, 0);
}

#[test]
fn a_long_vocabulary_is_read_though_it_exceeds_the_first_read() {
    let words: Vec<String> = (0..60_000).map(|i| format!("word{i}")).collect();
    let metadata = vec![("tokens".to_owned(), words.clone().into())];
    let tensor = (
        plan("a", StoredType::F32, &[1]),
        5f32.to_le_bytes().to_vec(),
    );
    let file = opened(write(metadata, vec![tensor]));
    assert_eq!(file.metadata_value("tokens"), Some(&words.into()));
    assert_eq!(values(&file, "a"), [5.0]);
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let whole = sample();
    // The padding after the last tensor is not needed.
    for length in 0..whole.len() - 28 {
        assert!(open(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert!(open(whole[..whole.len() - 28].to_vec()).is_ok());
    assert_refused(
        whole[..whole.len() - 29].to_vec(),
        &["b.weight", "beyond the end"],
    );
    assert_refused(whole[..40].to_vec(), &["truncated"]);
}

#[test]
fn absurd_counts_are_refused() {
    assert_refused(
        Raw::new(3, u64::MAX, 0).data(64),
        &["tensors", "more than the file"],
    );
    assert_refused(
        Raw::new(3, 1 << 19, 0).data(64),
        &["tensors", "more than the file"],
    );
    assert_refused(
        Raw::new(3, 0, u64::MAX).data(64),
        &["keys", "more than the file"],
    );
    let array = Raw::new(3, 0, 1)
        .text("k")
        .u32(9)
        .u32(0)
        .u64(1 << 60)
        .data(64);
    assert_refused(array, &["`k`", "more than the file"]);
    let text = Raw::new(3, 0, 1).text("k").u32(8).u64(u64::MAX).data(64);
    assert_refused(text, &["truncated"]);
    assert_refused(Raw::new(3, 0, 1).u64(1 << 40).data(64), &["limit"]);
}

#[test]
fn faulty_metadata_is_refused() {
    let nested = (0..50).fold(Raw::new(3, 0, 1).text("k").u32(9), |raw, _| {
        raw.u32(9).u64(1)
    });
    assert_refused(nested.data(64), &["`k`", "deep"]);
    let twice = Raw::new(3, 0, 2)
        .text("k")
        .u32(0)
        .bytes(&[1])
        .text("k")
        .u32(0)
        .bytes(&[1]);
    assert_refused(twice.data(64), &["`k`", "twice"]);
    assert_refused(Raw::new(3, 0, 1).text("k").u32(77).data(64), &["`k`", "77"]);
    assert_refused(
        Raw::new(3, 0, 1).text("k").u32(7).bytes(&[3]).data(64),
        &["`k`", "boolean"],
    );
    let latin = Raw::new(3, 0, 1)
        .text("k")
        .u32(8)
        .u64(1)
        .bytes(&[0xe9])
        .data(64);
    assert_refused(latin, &["UTF-8"]);
    for alignment in [0, 7, 48, 1 << 30] {
        let key = Raw::new(3, 0, 1)
            .text("general.alignment")
            .u32(4)
            .u32(alignment);
        assert_refused(key.data(64), &["general.alignment"]);
    }
    assert_refused(Raw::new(1, 0, 0).data(64), &["version 1"]);
    assert_refused(Raw::new(3u32.swap_bytes(), 0, 0).data(64), &["big-endian"]);
}

#[test]
fn faulty_tensors_are_refused() {
    let one = |dims: &[u64], ggml_type, offset| {
        Raw::new(3, 1, 0)
            .tensor("a.weight", dims, ggml_type, offset)
            .data(64)
    };
    assert_refused(one(&[1; 5], 0, 0), &["a.weight", "5 axes"]);
    assert_refused(one(&[1 << 40, 1 << 40], 0, 0), &["a.weight", "overflows"]);
    assert_refused(one(&[1 << 62], 28, 0), &["a.weight"]);
    assert_refused(one(&[16], 0, 32), &["a.weight", "beyond the end"]);
    assert_refused(one(&[1], 0, u64::MAX - 31), &["a.weight", "beyond the end"]);
    assert_refused(one(&[1], 0, 4), &["a.weight", "alignment"]);
    assert_refused(one(&[31], 8, 0), &["a.weight", "blocks of Q8_0"]);
    let two = |second: &str, offset| {
        let raw = Raw::new(3, 2, 0).tensor("a", &[9], 0, 0);
        raw.tensor(second, &[1], 0, offset).data(96)
    };
    assert!(open(two("b", 64)).is_ok());
    assert_refused(two("b", 32), &["`b`", "overlaps"]);
    assert_refused(two("a", 64), &["`a`", "twice"]);
}

#[test]
fn a_type_that_is_not_read_refuses_only_the_part_that_uses_it() {
    let file = |name: &str, number| {
        Raw::new(3, 2, 0)
            .tensor("img_in.bias", &[4], 0, 0)
            .tensor(name, &[256], number, 32)
            .data(64)
    };
    let part = |bytes| Weights::open("part", Component::Flux, vec![source(bytes)]);
    let part = |bytes| pollster::block_on(part(bytes));
    let weights = part(file("text_encoder.shared.weight", 40)).expect("not its own");
    assert_eq!(weights.ignored(), ["text_encoder.shared.weight"]);
    for (number, stored) in [(40, "NVFP4"), (4, "Q4_2"), (99, "ggml's type 99")] {
        let error = part(file("txt_in.weight", number)).expect_err("its own");
        let error = error.to_string();
        for word in [FILE, "`txt_in.weight`", stored, "another type"] {
            assert!(error.contains(word), "{error:?} should say {word:?}");
        }
    }
    assert_refused(file("img_in.bias", 40), &["`img_in.bias`", "twice"]);
}

#[test]
fn a_k_quant_is_read() {
    let bytes = Raw::new(3, 1, 0)
        .tensor("a.weight", &[256, 2], 12, 0)
        .data(288);
    let file = opened(bytes);
    assert_eq!(file.tensors()["a.weight"].stored, StoredType::Q4K);
    assert_eq!(file.tensors()["a.weight"].shape, [2, 256]);
    assert_eq!(values(&file, "a.weight"), [0.0; 512]);
}

#[test]
fn the_writer_refuses_what_a_reader_would() {
    let refused = |metadata: Vec<(String, MetaValue)>, tensors: Vec<Planned>| {
        let error = GgufWriter::new(metadata, tensors).expect_err("a faulty plan");
        error.to_string()
    };
    let a = || plan("a", StoredType::F32, &[1]);
    assert!(refused(Vec::new(), vec![a(), a()]).contains("twice"));
    assert!(refused(Vec::new(), vec![plan("a", StoredType::F32, &[1; 5])]).contains("5 axes"));
    assert!(refused(Vec::new(), vec![plan("a", StoredType::Q8_0, &[33])]).contains("blocks"));
    assert!(refused(Vec::new(), vec![plan("a", StoredType::Bool, &[1])]).contains("Bool"));
    let huge = plan("a", StoredType::I8, &[usize::MAX]);
    assert!(refused(Vec::new(), vec![huge]).contains("too large"));
    let mixed = MetaValue::Array(MetaType::U8, vec![MetaValue::U16(1)]);
    assert!(refused(vec![("k".to_owned(), mixed)], Vec::new()).contains("mixed"));
    let key = || ("k".to_owned(), MetaValue::U8(1));
    assert!(refused(vec![key(), key()], Vec::new()).contains("twice"));

    let writer = GgufWriter::new(Vec::new(), vec![a()]).expect("a plan");
    let mut body = writer.start("out.gguf", Vec::new()).expect("a header");
    let error = body
        .write_tensor(&[0; 3])
        .expect_err("a short tensor")
        .to_string();
    assert!(error.starts_with("out.gguf: tensor `a`"), "{error}");
    let writer = GgufWriter::new(Vec::new(), vec![a()]).expect("a plan");
    let body = writer.start("out.gguf", Vec::new()).expect("a header");
    assert!(
        body.finish()
            .expect_err("a missing tensor")
            .to_string()
            .contains("`a`")
    );
}

#[test]
fn a_failing_output_is_an_error_with_its_cause() {
    /// A disk with room for the header only.
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let room = self.0.min(bytes.len());
            self.0 -= room;
            if room == 0 && !bytes.is_empty() {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            }
            Ok(room)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let writer = GgufWriter::new(Vec::new(), vec![plan("a", StoredType::F32, &[100])]);
    let mut body = writer
        .expect("a plan")
        .start("out.gguf", Full(100))
        .expect("a header");
    let error = body.write_tensor(&[0; 400]).expect_err("a full disk");
    assert!(error.to_string().starts_with("out.gguf: "), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

fn any_tensor() -> impl Strategy<Value = (StoredType, Vec<usize>)> {
    let stored = prop::sample::select(vec![
        StoredType::F32,
        StoredType::F16,
        StoredType::BF16,
        StoredType::Q8_0,
        StoredType::Q4_0,
    ]);
    (stored, prop::collection::vec(1usize..4, 0..4), 1usize..3).prop_map(
        |(stored, mut shape, n)| {
            if stored.is_block() {
                shape.push(n * stored.block_len());
            }
            (stored, shape)
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(tensors in prop::collection::vec(any_tensor(), 0..8)) {
        let tensors = tensors.into_iter().enumerate().map(|(i, (stored, shape))| {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|j| (i * 100 + j) as f32 * 0.01 - 1.0).collect();
            ((format!("t{i}"), stored, shape), quantize(&values, stored))
        });
        let tensors: Vec<_> = tensors.collect();
        let file = opened(write(Vec::new(), tensors.clone()));
        prop_assert_eq!(file.tensors().len(), tensors.len());
        for ((name, stored, shape), bytes) in &tensors {
            let read = pollster::block_on(file.read(name)).expect("a tensor");
            prop_assert_eq!(read.stored, *stored);
            prop_assert_eq!(&read.shape, shape);
            prop_assert_eq!(&*read.bytes, &**bytes);
        }
    }
}

#[test]
fn a_tensor_is_written_in_parts_and_never_left_unfinished() {
    let plans = || {
        vec![
            plan("a", StoredType::F32, &[5]),
            plan("b", StoredType::I8, &[3]),
        ]
    };
    let begin = || {
        let writer = GgufWriter::new(Vec::new(), plans()).expect("a plan");
        writer.start("out.gguf", Vec::new()).expect("a header")
    };
    let (a, b): (Vec<u8>, Vec<u8>) = ((0..20).collect(), vec![7; 3]);
    let whole = write(
        Vec::new(),
        plans().into_iter().zip([a.clone(), b.clone()]).collect(),
    );
    let mut body = begin();
    for part in [&a[..1], &a[1..9], &[], &a[9..], &b] {
        body.write_part(part).expect("a part");
    }
    assert_eq!(body.finish().expect("all tensors"), whole);

    let mut body = begin();
    body.write_part(&a[..1]).expect("a part");
    let error = body.write_part(&a).expect_err("too much").to_string();
    assert!(error.contains("`a`") && error.contains("more"), "{error}");
    let error = body.finish().expect_err("a is unfinished").to_string();
    assert!(error.contains("`a`"), "{error}");
}
