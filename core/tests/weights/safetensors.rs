//! The safetensors reader: one refusal per fault, and round trips.

use proptest::prelude::*;
use x2i_core::weights::safetensors::shard_names;
use x2i_core::weights::{Component, FileFormat, StoredType, Weights};

use crate::common::{
    FILE, Made, assert_refused, golden, golden_bytes, open, opened, raw_safetensors, safetensors,
    source, values,
};

fn one(entry: &str, data_len: usize) -> Vec<u8> {
    raw_safetensors(&format!(r#"{{"a.weight":{entry}}}"#), &vec![0; data_len])
}

#[test]
fn tensors_and_metadata_are_read() {
    let json = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "a":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]},
        "none":{"dtype":"F32","shape":[0,3],"data_offsets":[12,12]},
        "one":{"dtype":"I64","shape":[],"data_offsets":[12,20]}}   "#;
    let mut data = [1f32, 2.0].map(f32::to_le_bytes).concat();
    data.extend([0x80, 0x3f, 0x00, 0x40]);
    data.extend(9i64.to_le_bytes());
    let file = opened(raw_safetensors(json, &data));
    assert_eq!(file.format(), FileFormat::Safetensors);
    let format = file.metadata_value("format");
    assert_eq!(format.and_then(|value| value.as_str()), Some("pt"));
    assert_eq!(file.tensors()["a"].stored, StoredType::BF16);
    assert_eq!(file.tensors()["a"].shape, [1, 2]);
    assert_eq!(values(&file, "a"), [1.0, 2.0]);
    assert_eq!(values(&file, "b"), [1.0, 2.0]);
    assert!(values(&file, "none").is_empty());
    assert_eq!(values(&file, "one"), [9.0]);
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let whole = safetensors(&[Made::counting("a.weight", &[2, 3], 0.0)]);
    for length in 0..whole.len() {
        assert!(open(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert_refused(
        whole[..whole.len() - 1].to_vec(),
        &["a.weight", "truncated"],
    );
    assert_refused(whole[..20].to_vec(), &["truncated", "header"]);
}

#[test]
fn an_oversized_header_is_refused() {
    let mut bytes = one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#, 4);
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_refused(bytes.clone(), &["header", "limit"]);
    bytes[..8].copy_from_slice(&99_000_000u64.to_le_bytes());
    assert_refused(bytes, &["truncated", "header"]);
}

#[test]
fn a_header_that_is_no_json_is_refused() {
    assert_refused(raw_safetensors("{\"a\":", &[]), &["header is not valid"]);
    assert_refused(raw_safetensors("{\"a\":3}", &[]), &["header is not valid"]);
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert_refused(raw_safetensors(&deep, &[]), &["header is not valid"]);
}

#[test]
fn a_dtype_that_is_not_read_refuses_only_the_part_that_uses_it() {
    let file = |name: &str, dtype: &str| {
        let json = format!(
            r#"{{"img_in.bias":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},
                "{name}":{{"dtype":"{dtype}","shape":[8],"data_offsets":[4,8]}}}}"#
        );
        raw_safetensors(&json, &[0; 8])
    };
    let part = |bytes| Weights::open("part", Component::Flux, vec![source(bytes)]);
    let part = |bytes| pollster::block_on(part(bytes));
    for dtype in ["F4", "F8_E8M0", "C64", "NEW"] {
        let weights = part(file("text_encoders.t5xxl.shared.weight", dtype)).expect("another's");
        assert_eq!(weights.ignored(), ["text_encoders.t5xxl.shared.weight"]);
        let error = part(file("txt_in.weight", dtype)).expect_err("its own");
        let error = error.to_string();
        for word in [FILE, "`txt_in.weight`", dtype, "another type"] {
            assert!(error.contains(word), "{error:?} should say {word:?}");
        }
    }
    assert_refused(file("img_in.bias", "F4"), &["`img_in.bias`", "twice"]);
}

#[test]
fn numbers_of_other_parts_refuse_nothing() {
    let types = [
        StoredType::U16,
        StoredType::U32,
        StoredType::U64,
        StoredType::Bool,
        StoredType::F8E4M3,
        StoredType::I64,
    ];
    let mut tensors = vec![Made::counting("img_in.bias", &[4], 0.0)];
    tensors.extend(types.map(|stored| Made {
        name: format!("text_encoders.{stored}"),
        stored,
        shape: vec![2],
        bytes: vec![1; 2 * stored.block_bytes()],
    }));
    let sources = vec![source(safetensors(&tensors))];
    let weights = pollster::block_on(Weights::open("part", Component::Flux, sources));
    let weights = weights.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(weights.ignored().len(), types.len());
    assert!(weights.names().eq(["img_in.bias"]));
}

#[test]
fn a_shape_of_another_size_is_refused() {
    let bytes = one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#, 4);
    assert_refused(bytes, &["a.weight", "[2]"]);
    let bytes = one(r#"{"dtype":"F16","shape":[1],"data_offsets":[0,4]}"#, 4);
    assert_refused(bytes, &["a.weight", "F16"]);
}

#[test]
fn a_shape_whose_product_overflows_is_refused() {
    let entry = r#"{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}"#;
    assert_refused(one(entry, 0), &["a.weight", "overflows"]);
    let entry = r#"{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}"#;
    assert_refused(one(entry, 0), &["a.weight", "overflows"]);
    let entry = r#"{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}"#;
    assert_refused(one(entry, 0), &["a.weight"]);
}

#[test]
fn offsets_outside_the_file_are_refused() {
    let bytes = one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, 4);
    assert_refused(bytes, &["a.weight", "truncated or damaged"]);
    let bytes = one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,0]}"#, 4);
    assert_refused(bytes, &["a.weight", "before it begins"]);
    let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}"#;
    assert_refused(one(entry, 4), &["header is not valid"]);
}

#[test]
fn overlaps_and_holes_are_refused() {
    let json = |second: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},
                "b":{{"dtype":"F32","shape":[1],"data_offsets":{second}}}}}"#
        )
    };
    let file = |second| raw_safetensors(&json(second), &[0; 12]);
    assert_refused(file("[2,6]"), &["`b`", "overlaps"]);
    assert_refused(file("[8,12]"), &["`b`", "hole"]);
    assert_refused(file("[4,8]"), &["4 bytes", "belong to nothing"]);
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let json = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    assert_refused(raw_safetensors(json, &[0; 2]), &["`a`", "twice"]);
}

#[test]
fn files_of_no_weight_format_say_what_they_are() {
    assert_refused(Vec::new(), &["empty"]);
    assert_refused(
        b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
        &["Git LFS"],
    );
    assert_refused(b"<!DOCTYPE html><html>".to_vec(), &["web page"]);
    assert_refused(b"\x80\x04\x95nothing of torch".to_vec(), &["pickle"]);
    assert_refused(b"\x89PNG\r\n\x1a\n and so on".to_vec(), &["not a GGUF"]);
}

#[test]
fn shard_names_come_once_and_stay_in_their_folder() {
    let json = br#"{"metadata":{"total_size":8},"weight_map":{"a":"m-2.safetensors",
        "b":"sub/m-1.safetensors","c":"m-2.safetensors"}}"#;
    let names = shard_names("index.json", json).expect("an index");
    assert_eq!(names, ["m-2.safetensors", "sub/m-1.safetensors"]);
    let outside = [
        "../up.safetensors",
        "sub/../../up.safetensors",
        "/etc/passwd",
        "sub//m",
        "a\\\\b",
        "..",
        "",
    ];
    for hostile in outside {
        let json = format!(r#"{{"weight_map":{{"a":"{hostile}"}}}}"#);
        let error = shard_names("m.index.json", json.as_bytes());
        let error = error.expect_err(hostile).to_string();
        assert!(error.starts_with("m.index.json: the shard"), "{error}");
        assert!(error.contains("not a path below"), "{error}");
    }
    assert!(shard_names("index.json", b"{}").is_err());
    assert!(shard_names("index.json", br#"{"weight_map":{}}"#).is_err());
}

#[test]
fn every_golden_weight_file_opens() {
    let mut folders = vec![golden("")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the goldens' folder") {
            let path = entry.expect("a folder entry").path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if matches!(extension, Some("safetensors" | "bin" | "pt" | "gguf")) {
                let bytes = golden_bytes(&path.to_string_lossy());
                let file = opened(bytes);
                for name in file.tensors().keys() {
                    let count = values(&file, name).len() as u64;
                    assert_eq!(count, file.tensors()[name].elements(), "{}", path.display());
                    read += 1;
                }
            }
        }
    }
    assert!(read > 0, "no tensor in {}", golden("").display());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        shapes in prop::collection::vec(prop::collection::vec(0usize..5, 0..5), 0..8),
    ) {
        let tensors = shapes.iter().enumerate();
        let tensors: Vec<Made> = tensors
            .map(|(i, shape)| Made::counting(&format!("t{i}.weight"), shape, i as f32 * 1000.0))
            .collect();
        let file = opened(safetensors(&tensors));
        prop_assert_eq!(file.tensors().len(), tensors.len());
        for tensor in &tensors {
            prop_assert_eq!(&file.tensors()[&tensor.name].shape, &tensor.shape);
            let read = pollster::block_on(file.read(&tensor.name)).expect("a tensor");
            prop_assert_eq!(&*read.bytes, &*tensor.bytes);
        }
    }
}
