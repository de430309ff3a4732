//! PyTorch files: the same state dict in every container, and views of storages.

use x2i_core::weights::{Component, FileFormat, StoredType, Weights};

use crate::common::{
    Pickle, Width, assert_refused, f32_bytes, golden_bytes, open, opened, source, torch_entries,
    torch_zip, values, zip,
};

/// A sound file: `a.weight` is [2, 3], the numbers from 0.
pub fn sample() -> Vec<u8> {
    let pickle = Pickle::new().raw(b"}(").text("a.weight");
    let pickle = pickle.tensor("0", 6, 0, &[2, 3], &[3, 1]).raw(b"u").stop();
    torch_zip(pickle, &[numbers(6)])
}

/// A sound file in the container of before PyTorch 1.6.
pub fn legacy_sample() -> Vec<u8> {
    let object = Pickle::new().raw(b"}(").text("a.weight");
    let object = object.tensor("77", 6, 0, &[2, 3], &[3, 1]).raw(b"u").stop();
    legacy(object, &["77"], &[(6, numbers(6))])
}

pub fn numbers(count: usize) -> Vec<u8> {
    f32_bytes(&(0..count).map(|i| i as f32).collect::<Vec<_>>())
}

fn legacy(object: Vec<u8>, keys: &[&str], storages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(Pickle::new().raw(b"M\xe9\x03").stop());
    bytes.extend(
        Pickle::new()
            .raw(b"}(")
            .text("little_endian")
            .raw(b"\x88u")
            .stop(),
    );
    bytes.extend(object);
    let keys = keys
        .iter()
        .fold(Pickle::new().raw(b"]("), |pickle, key| pickle.text(key));
    bytes.extend(keys.raw(b"e").stop());
    for (count, data) in storages {
        bytes.extend(count.to_le_bytes());
        bytes.extend(data);
    }
    bytes
}

/// A file whose pickle begins so and then holds a sound tensor.
pub fn with(start: Pickle) -> Vec<u8> {
    let pickle = start
        .raw(b"}(")
        .text("a")
        .tensor("0", 6, 0, &[6], &[1])
        .raw(b"u")
        .stop();
    torch_zip(pickle, &[numbers(6)])
}

/// A file of one view.
pub fn view(elements: i32, start: i32, size: &[i32], step: &[i32]) -> Vec<u8> {
    let pickle = Pickle::new().raw(b"}(").text("a");
    let pickle = pickle
        .tensor("0", elements, start, size, step)
        .raw(b"u")
        .stop();
    torch_zip(pickle, &[numbers(6)])
}

fn align_net(file: &str) -> Weights {
    let bytes = golden_bytes(&format!("alignnet/conv/{file}"));
    let weights = Weights::open(file, Component::AlignNet, vec![source(bytes)]);
    pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"))
}

fn read(weights: &Weights, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = pollster::block_on(weights.read(name)).unwrap_or_else(|error| panic!("{error}"));
    (tensor.shape.clone(), tensor.to_f32())
}

#[test]
fn one_state_dict_is_the_same_in_every_container() {
    let expected = align_net("state_dict.safetensors");
    for file in [
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model_module_prefix.bin",
        "comfyui_proj.pt",
        "legacy_non_zip.bin",
    ] {
        let found = align_net(file);
        assert!(expected.names().eq(found.names()), "{file}");
        for name in expected.names() {
            assert_eq!(read(&found, name), read(&expected, name), "{file}: {name}");
        }
    }
}

#[test]
fn a_bf16_file_holds_the_rounded_values() {
    let expected = align_net("state_dict.safetensors");
    let found = align_net("diffusion_pytorch_model_bf16.bin");
    assert!(expected.names().eq(found.names()));
    for name in expected.names() {
        assert_eq!(found.stored(name), Some(StoredType::BF16), "{name}");
        let (shape, values) = read(&expected, name);
        let rounded = x2i_core::weights::quant::quantize(&values, StoredType::BF16);
        let rounded = x2i_core::weights::quant::dequantize(&rounded, StoredType::BF16);
        assert_eq!(read(&found, name), (shape, rounded), "{name}");
    }
}

#[test]
fn comfyuis_config_is_kept() {
    let file = opened(golden_bytes("alignnet/conv/comfyui_proj.pt"));
    assert_eq!(file.format(), FileFormat::PickleZip);
    let config = file.config().expect("a config");
    let json = golden_bytes("alignnet/conv/config.json");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    for (key, value) in config.as_object().expect("an object") {
        assert_eq!(json.get(key), Some(value), "{key}");
    }
    let legacy = opened(golden_bytes("alignnet/conv/legacy_non_zip.bin"));
    assert_eq!(legacy.format(), FileFormat::PickleLegacy);
    assert!(legacy.config().is_none());
}

#[test]
fn both_widths_of_zip_numbers_are_read() {
    let pickle = Pickle::new().raw(b"}(").text("a");
    let pickle = pickle.tensor("0", 6, 0, &[6], &[1]).raw(b"u").stop();
    for width in [Width::Bits32, Width::Bits64] {
        let mut bytes = zip(&torch_entries(pickle.clone(), &[numbers(6)]), width);
        assert_eq!(
            values(&opened(bytes.clone()), "a"),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        );
        let end = bytes.len();
        bytes[end - 2] = 3; // a comment
        bytes.extend(b"hey");
        assert_eq!(values(&opened(bytes), "a").len(), 6, "{width:?}");
    }
}

#[test]
fn the_protocols_newer_instructions_are_read() {
    let tensor = |pickle: Pickle| {
        pickle
            .raw(b"\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94((\x8c\x07storage")
            .raw(b"\x8c\x05torch\x8c\x0cFloatStorage\x93\x8c\x010\x8c\x03cpuK\x06tQK\x00K\x06\x85")
            .raw(b"K\x01\x85\x89}tR")
    };
    let start = Pickle(b"\x80\x04\x95\x40\0\0\0\0\0\0\0}\x94(\x8c\x01a".to_vec());
    let pickle = tensor(start).raw(b"\x8c\x01b").raw(b"h\x03");
    // `b` is not a tensor but the function: of no use, and no harm.
    let file = opened(torch_zip(pickle.raw(b"u").stop(), &[numbers(6)]));
    assert_eq!(values(&file, "a").len(), 6);
    assert_eq!(file.tensors().len(), 1);
}

#[test]
fn views_are_read_contiguous() {
    let file = opened(view(6, 0, &[3, 2], &[1, 3]));
    assert_eq!(values(&file, "a"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let file = opened(view(6, 1, &[2, 2], &[3, 1]));
    assert_eq!(values(&file, "a"), [1.0, 2.0, 4.0, 5.0]);
    let file = opened(view(6, 5, &[1, 1], &[100, 7]));
    assert_eq!(values(&file, "a"), [5.0]);
    assert!(file.tensors()["a"].strides.is_none());
    let file = opened(view(6, 2, &[], &[]));
    assert_eq!(values(&file, "a"), [2.0]);
    let file = opened(view(6, 9, &[0, 4], &[4, 1]));
    assert!(values(&file, "a").is_empty());
    let file = opened(view(6, 4, &[2, 2], &[0, 1]));
    assert_eq!(values(&file, "a"), [4.0, 5.0, 4.0, 5.0]);
}

#[test]
fn tensors_may_share_a_storage() {
    let pickle = Pickle::new()
        .raw(b"}(")
        .text("a")
        .tensor("0", 6, 0, &[2], &[1]);
    let pickle = pickle
        .text("b")
        .tensor("0", 6, 1, &[2], &[1])
        .raw(b"u")
        .stop();
    let file = opened(torch_zip(pickle, &[numbers(6)]));
    assert_eq!(values(&file, "a"), [0.0, 1.0]);
    assert_eq!(values(&file, "b"), [1.0, 2.0]);
}

#[test]
fn state_dicts_are_found_below_the_usual_names() {
    for key in ["state_dict", "model"] {
        let pickle = Pickle::new()
            .raw(b"}(")
            .text("epoch")
            .int(3)
            .text("optimizer");
        let pickle = pickle
            .raw(b"}(")
            .text("w")
            .tensor("0", 6, 0, &[6], &[1])
            .raw(b"u")
            .text(key);
        let pickle = pickle
            .raw(b"}(")
            .text("a")
            .tensor("0", 6, 0, &[6], &[1])
            .raw(b"uu")
            .stop();
        let file = opened(torch_zip(pickle, &[numbers(6)]));
        assert!(file.tensors().keys().eq(["a"]), "{key}");
    }
    let pickle = Pickle::new().raw(b"}(").text("net").raw(b"}(").text("a");
    let pickle = pickle.tensor("0", 6, 0, &[6], &[1]).raw(b"uu").stop();
    let file = opened(torch_zip(pickle, &[numbers(6)]));
    assert!(file.tensors().keys().eq(["net.a"]));
}

#[test]
fn parameters_and_ordered_dicts_are_read() {
    let pickle = Pickle::new()
        .global("collections", "OrderedDict")
        .raw(b")R(")
        .text("a");
    let pickle = pickle
        .global("torch._utils", "_rebuild_parameter")
        .raw(b"(");
    let pickle = pickle
        .tensor("0", 6, 0, &[6], &[1])
        .raw(b"\x88}tRu}(")
        .text("_metadata");
    let pickle = pickle.raw(b"}ub").stop();
    let file = opened(torch_zip(pickle, &[numbers(6)]));
    assert_eq!(values(&file, "a").len(), 6);
}

#[test]
fn legacy_files_are_read_and_checked() {
    let whole = legacy_sample();
    let file = opened(whole.clone());
    assert_eq!(file.format(), FileFormat::PickleLegacy);
    assert_eq!(values(&file, "a.weight"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    for length in 0..whole.len() {
        assert!(open(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert_refused(
        whole[..whole.len() - 1].to_vec(),
        &["truncated", "storage 77"],
    );
    let object = || {
        let object = Pickle::new()
            .raw(b"}(")
            .text("a")
            .tensor("77", 6, 0, &[6], &[1]);
        object.raw(b"u").stop()
    };
    let sound = (6, numbers(6));
    assert_refused(legacy(object(), &[], &[]), &["storage 77 is missing"]);
    assert_refused(
        legacy(object(), &["77", "77"], std::slice::from_ref(&sound)),
        &["storage 77", "twice"],
    );
    assert_refused(legacy(object(), &["78"], &[sound]), &["storage 78"]);
    assert_refused(
        legacy(object(), &["77"], &[(7, numbers(7))]),
        &["storage 77", "7 elements"],
    );
    let absurd = (u64::MAX, numbers(6));
    assert_refused(legacy(object(), &["77"], &[absurd]), &["storage 77"]);
    let attack = Pickle::new()
        .global("os", "system")
        .text("true")
        .raw(b"\x85R")
        .stop();
    assert_refused(legacy(attack, &[], &[]), &["os.system"]);
}

#[test]
fn a_damaged_archive_is_told_by_its_checksums() {
    let whole = golden_bytes("alignnet/conv/diffusion_pytorch_model.bin");
    let broken = |bytes: Vec<u8>| {
        let file = opened(bytes);
        pollster::block_on(file.broken_entry()).expect("its directory is whole")
    };
    assert_eq!(broken(whole.clone()), None);
    // A bit of a weight: the file opens as if nothing had happened.
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let entry = broken(flipped).expect("one entry is damaged");
    assert!(entry.contains("/data/"), "{entry}");
    // An archive that was written without checksums promises nothing.
    assert_eq!(broken(sample()), None);
}
