//! Weights as other programs quantize them paint the picture of the floats that they stand for.

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use program::Program;
use serde_json::{Value, json};
use x2i_core::weights::{MemorySource, StoredType, WeightFile, quant};

/// A tensor to be written: name, dtype, shape, bytes.
type Tensor = (String, &'static str, Vec<usize>, Vec<u8>);

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

fn goldens() -> PathBuf {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    goldens.canonicalize().expect("the golden folders")
}

/// The tensors of a file as f32.
fn read(path: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let source = MemorySource::new("golden", fs::read(path).expect("a golden file"));
    let file = pollster::block_on(WeightFile::open(Arc::new(source))).expect("a weight file");
    let names = file.tensors().keys();
    let tensors = names.map(|name| {
        let tensor = pollster::block_on(file.read(name)).expect("a tensor");
        (name.clone(), tensor.shape.clone(), tensor.to_f32())
    });
    tensors.collect()
}

fn write(path: &Path, tensors: &[Tensor]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend(bytes);
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, [&length[..], header.as_bytes(), &data].concat()).expect("a file");
}

fn f32s(name: String, shape: &[usize], values: &[f32]) -> Tensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    (name, "F32", shape.to_vec(), bytes.collect())
}

fn largest(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(1e-9, |most, value| value.abs().max(most))
}

/// The number of the nearest value of a table.
fn nearest(table: &[f32], value: f32) -> u8 {
    let distance = |number: &usize| (table[*number] - value).abs();
    let finite = (0..table.len()).filter(|&number| table[number].is_finite());
    let found = finite.min_by(|a, b| distance(a).total_cmp(&distance(b)));
    found.expect("a table of numbers") as u8
}

/// A matrix as a format stores it, and the floats that this stands for.
type Quantizer = fn(&str, &[usize], &[f32]) -> (Vec<Tensor>, Vec<f32>);

/// ComfyUI's scaled FP8.
fn scaled_fp8(layer: &str, shape: &[usize], values: &[f32]) -> (Vec<Tensor>, Vec<f32>) {
    let all: Vec<u8> = (0..=255).collect();
    let table = quant::dequantize(&all, StoredType::F8E4M3);
    let scale = largest(values) / 448.0;
    let numbers: Vec<u8> = values
        .iter()
        .map(|value| nearest(&table, value / scale))
        .collect();
    let floats = numbers
        .iter()
        .map(|&number| table[usize::from(number)] * scale)
        .collect();
    let tensors = vec![
        (
            format!("{layer}.weight"),
            "F8_E4M3",
            shape.to_vec(),
            numbers,
        ),
        f32s(format!("{layer}.scale_weight"), &[], &[scale]),
        f32s(format!("{layer}.scale_input"), &[], &[7.0]),
    ];
    (tensors, floats)
}

/// FP8 without a scale.
fn plain_fp8(layer: &str, shape: &[usize], values: &[f32]) -> (Vec<Tensor>, Vec<f32>) {
    let all: Vec<u8> = (0..=255).collect();
    let table = quant::dequantize(&all, StoredType::F8E5M2);
    let numbers: Vec<u8> = values.iter().map(|&value| nearest(&table, value)).collect();
    let floats = numbers.iter().map(|&number| table[usize::from(number)]);
    let floats = floats.collect();
    let weight = format!("{layer}.weight");
    (vec![(weight, "F8_E5M2", shape.to_vec(), numbers)], floats)
}

/// compressed-tensors' FP8 with a scale for each row.
fn fp8_rows(layer: &str, shape: &[usize], values: &[f32]) -> (Vec<Tensor>, Vec<f32>) {
    let (mut numbers, mut scales, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    for row in values.chunks(shape[1]) {
        let (tensors, row_floats) = scaled_fp8(layer, &[1, shape[1]], row);
        numbers.extend(&tensors[0].3);
        scales.extend(&tensors[1].3);
        floats.extend(row_floats);
    }
    let weight = format!("{layer}.weight");
    let tensors = vec![
        (format!("{weight}_scale"), "F32", vec![shape[0], 1], scales),
        (weight, "F8_E4M3", shape.to_vec(), numbers),
    ];
    (tensors, floats)
}

/// compressed-tensors' int8 with a scale for each row.
fn int8(layer: &str, shape: &[usize], values: &[f32]) -> (Vec<Tensor>, Vec<f32>) {
    let (mut numbers, mut scales, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    for row in values.chunks(shape[1]) {
        let scale = largest(row) / 127.0;
        let rounded = row.iter().map(|value| (value / scale).round() as i8);
        let rounded: Vec<i8> = rounded.collect();
        numbers.extend(rounded.iter().map(|number| number.cast_unsigned()));
        floats.extend(rounded.iter().map(|&number| f32::from(number) * scale));
        scales.push(scale);
    }
    let tensors = vec![
        (format!("{layer}.weight"), "I8", shape.to_vec(), numbers),
        f32s(format!("{layer}.weight_scale"), &[shape[0], 1], &scales),
    ];
    (tensors, floats)
}

/// bitsandbytes' four bits, of any sixteen values.
fn four_bit(layer: &str, shape: &[usize], values: &[f32]) -> (Vec<Tensor>, Vec<f32>) {
    let map = std::array::from_fn(|number| (number as f32 - 7.5) / 7.5);
    of_map(map, layer, shape, values)
}

/// The map of bitsandbytes' own files.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The same of NF4's own.
fn nf4(layer: &str, shape: &[usize], values: &[f32]) -> (Vec<Tensor>, Vec<f32>) {
    of_map(NF4, layer, shape, values)
}

fn of_map(map: [f32; 16], layer: &str, shape: &[usize], values: &[f32]) -> (Vec<Tensor>, Vec<f32>) {
    let (mut numbers, mut absmax, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    for block in values.chunks(64) {
        let most = largest(block);
        for value in block {
            let number = nearest(&map, value / most);
            numbers.push(number);
            floats.push(map[usize::from(number)] * most);
        }
        absmax.push(most);
    }
    let pairs = numbers
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0));
    let pairs: Vec<u8> = pairs.collect();
    let state = json!({ "quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": shape });
    let state = state.to_string().into_bytes();
    let weight = format!("{layer}.weight");
    let tensors = vec![
        f32s(format!("{weight}.absmax"), &[absmax.len()], &absmax),
        f32s(format!("{weight}.quant_map"), &[16], &map),
        (
            format!("{weight}.quant_state.bitsandbytes__nf4"),
            "U8",
            vec![state.len()],
            state,
        ),
        (weight, "U8", vec![pairs.len(), 1], pairs),
    ];
    (tensors, floats)
}

/// A model folder whose transformer's file has these tensors.
fn model(program: &Program, name: &str, tensors: &[Tensor]) -> PathBuf {
    let folder = program.path(name);
    let flux = folder.join("flux");
    let golden = goldens().join("pipeline_tiny/flux");
    write(&flux.join(TRANSFORMER), tensors);
    for file in [
        "transformer/config.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ] {
        let to = flux.join(file);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(golden.join(file), to).expect("a golden file");
    }
    let hints = json!({
        "flux": "flux",
        "proj": goldens().join("pipeline_tiny/proj"),
        "mllm": goldens().join("qwen2_5_vl_tiny"),
        "defaults": {"width": 64, "height": 64, "padding": null, "input_image_size": null, "max_new_tokens": 4},
    });
    fs::write(folder.join("x2i.json"), hints.to_string()).expect("x2i.json");
    folder
}

/// The tiny transformer, quantized, and as the floats that this stands for.
fn pair(quantizer: Quantizer) -> (Vec<Tensor>, Vec<Tensor>) {
    let (mut quantized, mut floats) = (Vec::new(), Vec::new());
    for (name, shape, values) in read(&goldens().join("pipeline_tiny/flux").join(TRANSFORMER)) {
        match name.strip_suffix(".weight").filter(|_| shape.len() == 2) {
            Some(layer) => {
                let (tensors, dequantized) = quantizer(layer, &shape, &values);
                quantized.extend(tensors);
                floats.push(f32s(name, &shape, &dequantized));
            }
            None => {
                quantized.push(f32s(name.clone(), &shape, &values));
                floats.push(f32s(name, &shape, &values));
            }
        }
    }
    (quantized, floats)
}

fn paint(program: &Program, model: &Path, name: &str) -> Vec<u8> {
    let model = model.to_str().expect("a UTF-8 path");
    let arguments = [
        "generate", "--model", model, "--device", "cpu", "--seed", "1", "a cat",
    ];
    program
        .run(&[&arguments[..], &["-o", name]].concat())
        .succeeded();
    let picture = image::open(program.path(name)).expect("a picture");
    picture.into_rgb8().into_raw()
}

/// Sums in another order round a value to its neighbour at most.
#[track_caller]
fn assert_alike(found: &[u8], expected: &[u8], format: &str) {
    assert_eq!(found.len(), expected.len(), "{format}");
    let differ = found.iter().zip(expected).filter(|(a, b)| a != b);
    let far = differ.clone().filter(|(a, b)| a.abs_diff(**b) > 1);
    assert_eq!(far.count(), 0, "{format}");
    assert!(differ.count() <= found.len() / 100, "{format}");
}

#[test]
fn quantized_transformers_paint_what_their_floats_paint() {
    let program = Program::new();
    let formats: [(&str, Quantizer); 6] = [
        ("fp8", scaled_fp8),
        ("fp8-plain", plain_fp8),
        ("fp8-rows", fp8_rows),
        ("int8", int8),
        ("four_bit", four_bit),
        ("nf4", nf4),
    ];
    for (format, quantizer) in formats {
        let (mut quantized, floats) = pair(quantizer);
        if format == "fp8" {
            quantized.push(("scaled_fp8".into(), "F8_E4M3", vec![2], vec![0, 0]));
        }
        let quantized = model(&program, &format!("in-{format}"), &quantized);
        let floats = model(&program, &format!("in-{format}-floats"), &floats);
        let expected = paint(&program, &floats, "floats.png");
        assert_alike(&paint(&program, &quantized, "made.png"), &expected, format);

        // Converted once, it is read without its companions.
        let small = format!("in-{format}-small");
        let arguments = ["convert", quantized.to_str().expect("a UTF-8 path"), &small];
        program
            .run(&[&arguments[..], &["--quantize", "none"]].concat())
            .succeeded();
        let small = program.path(&small);
        assert_alike(&paint(&program, &small, "small.png"), &expected, format);
    }
}

#[test]
fn scales_that_nobody_can_place_are_refused_by_name() {
    let program = Program::new();
    let (mut tensors, _) = pair(int8);
    tensors.retain(|(name, ..)| name != "x_embedder.weight_scale");
    let folder = model(&program, "in-lost", &tensors);
    let paint = |folder: &Path| {
        let folder = folder.to_str().expect("a UTF-8 path");
        program.run(&["generate", "--model", folder, "--device", "cpu", "a cat"])
    };
    paint(&folder).refused(&["`x_embedder.weight`", "I8"]);

    let (_, mut floats) = pair(int8);
    floats.push(f32s("x_embedder.weight_scale".into(), &[1], &[0.5]));
    let folder = model(&program, "in-left", &floats);
    paint(&folder).refused(&["`x_embedder.weight_scale`", "F32"]);

    let (_, floats) = pair(int8);
    let folder = model(&program, "in-gptq", &floats);
    let config = folder.join("flux/transformer/config.json");
    let json = fs::read(&config).expect("a config");
    let mut json: Value = serde_json::from_slice(&json).expect("JSON");
    json["quantization_config"] = json!({ "quant_method": "gptq", "bits": 4 });
    fs::write(&config, json.to_string()).expect("a config");
    paint(&folder).refused(&["quantization_config", "\"gptq\""]);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn bench_quality_compares_folders_as_they_are() {
    let program = Program::new();
    let emoji = concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/models/emoji");
    let small = ["convert", emoji, "small", "--quantize", "q4_0"];
    program.run(&small).succeeded();
    fs::write(program.path("prompts.txt"), "a red apple").expect("a file of prompts");
    let bench = |compare: &str| {
        let arguments = ["bench", "quality", "--model", emoji, "--quantize", "q4_0"];
        let more = ["--prompts", "prompts.txt", "--json", "--compare", compare];
        program.run(&[&arguments[..], &more].concat())
    };
    let printed = bench("small").succeeded().stdout;
    let rows: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let [made, compared] = &rows[..] else {
        panic!("{printed}");
    };
    assert_eq!([&made["weights"], &compared["weights"]], ["q4_0", "small"]);
    for key in ["bytes", "velocity_error", "mean_psnr"] {
        assert!(made[key].as_f64() > Some(0.0), "{printed}");
        assert_eq!(made[key], compared[key], "{printed}");
    }
    bench(program.model()).refused(&["--compare", "another model"]);
}
