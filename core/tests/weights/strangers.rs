//! Tensors beside a part's own: companions that are followed or refused, and names of nobody.

use x2i_core::weights::{Component, StoredType, Weights};

use crate::common::{FILE, Made, f32_bytes, raw_safetensors, safetensors, source};
use crate::pairs::{flux, vae};

fn made(name: &str, stored: StoredType, shape: &[usize], bytes: &[u8]) -> Made {
    Made {
        name: name.to_owned(),
        stored,
        shape: shape.to_vec(),
        bytes: bytes.to_vec(),
    }
}

fn f32s(name: &str, values: &[f32]) -> Made {
    made(name, StoredType::F32, &[values.len()], &f32_bytes(values))
}

/// A tensor of bytes.
fn note(name: &str, bytes: &[u8]) -> Made {
    made(name, StoredType::U8, &[bytes.len()], bytes)
}

fn open(component: Component, tensors: &[Made]) -> Result<Weights, String> {
    let sources = vec![source(safetensors(tensors))];
    let weights = pollster::block_on(Weights::open("part", component, sources));
    weights.map_err(|error| error.to_string())
}

/// The one sentence that these are refused with.
#[track_caller]
fn refusal(component: Component, tensors: &[Made]) -> String {
    let message = open(component, tensors).expect_err("it was opened");
    assert!(message.starts_with(&format!("{FILE}: ")), "{message}");
    assert!(
        !message.contains('\n') && !message.ends_with('.'),
        "{message}"
    );
    message
}

#[track_caller]
fn assert_refused(tensors: &[Made], parts: &[&str]) {
    let message = refusal(Component::Flux, tensors);
    for part in parts {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
}

fn int8(name: &str) -> Made {
    made(name, StoredType::I8, &[2, 2], &[1, 2, 3, 4])
}

fn read(weights: &Weights, name: &str) -> Vec<f32> {
    let tensor = pollster::block_on(weights.read(name));
    tensor.unwrap_or_else(|error| panic!("{error}")).to_f32()
}

#[test]
fn whole_numbers_without_a_scale_are_no_weights() {
    assert_refused(&[int8("img_in.weight")], &["`img_in.weight`", "I8"]);
    let bias = made("img_in.bias", StoredType::I32, &[1], &[0; 4]);
    assert_refused(&[bias], &["`img_in.bias`", "I32"]);
}

#[test]
fn a_scale_beside_floats_is_refused_by_name() {
    for scale in ["weight_scale", "scale_weight", "weight_scale_inv"] {
        let scale = format!("img_in.{scale}");
        let weight = Made::counting("img_in.weight", &[2, 2], 0.0);
        let marker = made("scaled_fp8", StoredType::F8E4M3, &[0], &[]);
        let said = format!("`{scale}`");
        assert_refused(&[weight, f32s(&scale, &[2.0]), marker], &[&said, "F32"]);
    }
}

#[test]
fn comfyuis_older_scale_needs_its_marker() {
    let weight = made("img_in.weight", StoredType::F8E4M3, &[1, 2], &[0x38, 0x40]);
    let scale = f32s("img_in.scale_weight", &[0.5]);
    let unmarked = [weight.clone(), scale.clone()];
    assert_refused(&unmarked, &["`img_in.scale_weight`", "scaled_fp8"]);
    let marker = made("scaled_fp8", StoredType::F8E4M3, &[2], &[0; 2]);
    let weights = open(Component::Flux, &[weight, scale, marker]).unwrap();
    assert_eq!(read(&weights, "img_in.weight"), [0.5, 1.0]);
}

#[test]
fn scales_of_inputs_change_nothing() {
    for name in [
        "scale_input",
        "input_scale",
        "output_scale",
        "input_zero_point",
    ] {
        let weight = Made::counting("img_in.weight", &[2, 2], 0.0);
        let scale = f32s(&format!("img_in.{name}"), &[3.0]);
        let weights = open(Component::Flux, &[weight, scale]).unwrap();
        assert_eq!(read(&weights, "img_in.weight"), [0.0, 1.0, 2.0, 3.0]);
    }
}

#[test]
fn int8_is_read_by_its_scale_of_tensor_or_rows() {
    for (scale, expected) in [
        (f32s("img_in.weight_scale", &[0.5]), [0.5, 1.0, 1.5, 2.0]),
        (
            f32s("img_in.weight_scale", &[1.0, 2.0]),
            [1.0, 2.0, 6.0, 8.0],
        ),
    ] {
        let comfy = |json: &str| vec![note("img_in.comfy_quant", json.as_bytes())];
        for extra in [
            vec![],
            comfy(r#"{"format": "int8_tensorwise"}"#),
            // As convert_to_quant writes it.
            comfy(
                r#"{"format": "int8_tensorwise", "orig_dtype": "torch.bfloat16", "orig_shape": [2, 2],
                    "per_row": true, "convrot": false, "convrot_groupsize": 256}"#,
            ),
        ] {
            let mut tensors = vec![int8("img_in.weight"), scale.clone()];
            tensors.extend(extra);
            let weights = open(Component::Flux, &tensors).unwrap();
            assert_eq!(read(&weights, "img_in.weight"), expected);
        }
    }
}

#[test]
fn formats_of_comfyui_that_are_not_read_are_refused() {
    let scale = f32s("img_in.weight_scale", &[0.5]);
    let weight = int8("img_in.weight");
    for (json, says) in [
        (
            r#"{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256}"#,
            "`convrot`: its weights are rotated, which is not undone; take the file in bf16",
        ),
        (
            r#"{"format": "nvfp4"}"#,
            "\"nvfp4\", which is not read; take the file in bf16",
        ),
        (r#"{"format": "float8_e4m3fn"}"#, "F8_E4M3"),
        ("?", "can't be read"),
    ] {
        let format = note("img_in.comfy_quant", json.as_bytes());
        let tensors = [weight.clone(), scale.clone(), format.clone()];
        assert_refused(&tensors, &["`img_in.comfy_quant`", says]);
    }
    let alone = note("img_in.comfy_quant", br#"{"format": "int8_tensorwise"}"#);
    assert_refused(&[weight, alone], &["`img_in.comfy_quant`", "weight_scale"]);

    let layers = r#"{\"layers\": {\"img_in\": {\"format\": \"nvfp4\"}}}"#;
    let json = format!(
        r#"{{"__metadata__":{{"_quantization_metadata":"{layers}"}},"img_in.bias":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
    );
    let sources = vec![source(raw_safetensors(&json, &[0; 4]))];
    let error = pollster::block_on(Weights::open("part", Component::Flux, sources));
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("`img_in`") && message.contains("nvfp4"),
        "{message}"
    );
}

#[test]
fn companions_without_their_others_are_refused() {
    let scale = f32s("img_in.weight_scale", &[0.5]);
    assert_refused(&[scale], &["`img_in.weight_scale`", "no weight"]);
    let absmax = f32s("img_in.weight.absmax", &[0.5]);
    let packed = note("img_in.weight", &[0x12, 0x34]);
    assert_refused(
        &[packed.clone(), absmax],
        &["`img_in.weight`", "quant_state"],
    );
    let format = note("img_in.weight_format", &[0]);
    assert_refused(
        &[int8("img_in.weight"), format],
        &["`img_in.weight_format`", "SCB"],
    );
    let scb = f32s("img_in.SCB", &[1.0, 2.0]);
    let turing = note("img_in.weight_format", &[2]);
    assert_refused(
        &[int8("img_in.weight"), scb.clone(), turing],
        &["`img_in.weight_format`", "rows"],
    );
    let second = f32s("img_in.weight_scale", &[1.0]);
    assert_refused(
        &[int8("img_in.weight"), scb, second],
        &["`img_in.weight_scale`", "`img_in.SCB`"],
    );
}

#[test]
fn broken_states_of_four_bits_are_refused() {
    let map: Vec<f32> = (0..16u8).map(f32::from).collect();
    let whole = |state: &str| {
        vec![
            note("img_in.weight", &[0x12, 0x34]),
            f32s("img_in.weight.absmax", &[2.0]),
            f32s("img_in.weight.quant_map", &map),
            note(
                "img_in.weight.quant_state.bitsandbytes__nf4",
                state.as_bytes(),
            ),
        ]
    };
    let state = |quant_type: &str, block: u64, dtype: &str, shape: &str| {
        format!(
            r#"{{"quant_type":"{quant_type}","blocksize":{block},"dtype":"{dtype}","shape":{shape}}}"#
        )
    };
    let weights = open(
        Component::Flux,
        &whole(&state("nf4", 64, "float32", "[2,2]")),
    )
    .unwrap();
    assert_eq!(read(&weights, "img_in.weight"), [2.0, 4.0, 6.0, 8.0]);
    for (broken, says) in [
        (state("fp4", 64, "float32", "[2,2]"), "quant_type"),
        (state("nf4", 64, "int8", "[2,2]"), "dtype"),
        (state("nf4", 0, "float32", "[2,2]"), "empty"),
        (state("nf4", 64, "float32", "[]"), "empty"),
        (
            state("nf4", 64, "float32", "[2,9]"),
            "`img_in.weight` holds 2",
        ),
        (
            state("nf4", 2, "float32", "[2,2]"),
            "`img_in.weight.absmax` holds 1",
        ),
        (
            state("nf4", 64, "float32", "[18446744073709551615,9]"),
            "overflows",
        ),
        ("{".to_owned(), "can't be read"),
    ] {
        assert_refused(&whole(&broken), &[says]);
    }
}

#[test]
fn formats_that_are_not_read_are_named() {
    let weight = int8("img_in.weight");
    for (companion, says) in [
        (
            "weight_scale_2",
            "NVFP4 format, which is not read; take the file in bf16",
        ),
        ("g_idx", "GPTQ"),
        ("weight_scales", "EETQ"),
        ("weight._data", "quanto"),
        ("W_q", "HQQ"),
        ("smooth_factor", "SVDQuant"),
        ("bitmask", "sparse"),
    ] {
        let companion = format!("img_in.{companion}");
        let named = format!("`{companion}`");
        assert_refused(&[weight.clone(), f32s(&companion, &[1.0])], &[&named, says]);
    }
    // All that real layers have, several of them parts of one format.
    for (companions, says) in [
        (
            &["weight._data", "weight._scale", "input_scale"][..],
            "quanto",
        ),
        (&["_weight_qdata", "_weight_scale"], "torchao"),
        (
            &[
                "wscales",
                "smooth_factor",
                "smooth_factor_orig",
                "lora_down",
            ],
            "SVDQuant",
        ),
        (
            &["weight_scale", "weight_global_scale", "input_global_scale"],
            "NVFP4",
        ),
    ] {
        let companions = companions.iter();
        let tensors = companions.map(|name| f32s(&format!("img_in.{name}"), &[1.0]));
        assert_refused(&tensors.collect::<Vec<_>>(), &["is a part of", says]);
    }
    // GPTQ's numbers without their order have AWQ's names and another layout.
    let words = |name: &str, shape: &[usize]| {
        made(
            name,
            StoredType::I32,
            shape,
            &vec![0; shape.iter().product::<usize>() * 4],
        )
    };
    let scales = made("img_in.scales", StoredType::F16, &[1, 8], &[0; 16]);
    let gptq = [
        words("img_in.qweight", &[1, 8]),
        words("img_in.qzeros", &[1, 1]),
        scales,
    ];
    assert_refused(&gptq, &["`img_in.qweight`", "GPTQ"]);
}

#[test]
fn pieces_of_a_fused_tensor_keep_their_own_scales() {
    let tensors = ["q", "k", "v"]
        .iter()
        .enumerate()
        .flat_map(|(index, piece)| {
            let layer = format!("transformer_blocks.0.attn.to_{piece}");
            [
                int8(&format!("{layer}.weight")),
                f32s(&format!("{layer}.weight_scale"), &[index as f32 + 1.0]),
            ]
        });
    let weights = open(Component::Flux, &tensors.collect::<Vec<_>>()).unwrap();
    let name = "double_blocks.0.img_attn.qkv.weight";
    assert_eq!(weights.shape(name), Some(vec![6, 2]));
    let expected = [1.0, 2.0, 3.0, 4.0, 2.0, 4.0, 6.0, 8.0, 3.0, 6.0, 9.0, 12.0];
    assert_eq!(read(&weights, name), expected);
}

#[test]
fn quantized_parts_of_one_file_do_not_disturb_each_other() {
    let mut all = Vec::new();
    for (prefix, tensors) in [
        ("model.diffusion_model.", flux().ours),
        ("vae.", vae().ours),
    ] {
        all.extend(tensors.into_iter().map(|tensor| Made {
            name: format!("{prefix}{}", tensor.name),
            ..tensor
        }));
    }
    all.push(int8("text_encoders.t5xxl.transformer.shared.weight"));
    all.push(f32s(
        "text_encoders.t5xxl.transformer.shared.scale_weight",
        &[1.0],
    ));
    all.push(made("scaled_fp8", StoredType::F8E4M3, &[0], &[]));
    all.push(f32s("something.of.a.trainer", &[1.0]));
    for (component, ours) in [(Component::Flux, flux().ours), (Component::Vae, vae().ours)] {
        let weights = open(component, &all).unwrap();
        assert_eq!(weights.names().count(), ours.len(), "{component}");
    }
}

#[test]
fn a_tensor_that_nothing_reads_is_refused_by_name() {
    for (component, own, stranger) in [
        (Component::Flux, "img_in.bias", "img_in.gain"),
        (
            Component::Vae,
            "decoder.conv_in.bias",
            "post_quant_conv.bias",
        ),
        (Component::AlignNet, "conv.bias", "mlp.projector.4.weight"),
        (
            Component::Qwen2_5Vl,
            "model.norm.weight",
            "model.layers.0.self_attn.o_proj.bias",
        ),
        (
            Component::InternVl2_5,
            "mlp1.0.bias",
            "language_model.model.layers.0.self_attn.q_norm.weight",
        ),
        (
            Component::MiniCpmO,
            "llm.model.norm.weight",
            "vpm.head.probe",
        ),
        (
            Component::LightControl,
            "0.mid_convs.1.bias",
            "0.mid_convs.2.bias",
        ),
        (
            Component::T5,
            "encoder.final_layer_norm.weight",
            "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        (
            Component::ClipText,
            "text_model.final_layer_norm.bias",
            "text_model.pre_layrnorm.bias",
        ),
    ] {
        let own = f32s(own, &[1.0]);
        let message = refusal(component, &[own.clone(), f32s(stranger, &[1.0])]);
        assert!(message.contains(&format!("`{stranger}`")), "{message}");
        assert!(open(component, &[own]).is_ok(), "{component}");
    }
}

#[test]
fn tensors_that_change_nothing_pass() {
    for (component, own, harmless) in [
        (
            Component::Qwen2_5Vl,
            "model.norm.weight",
            "model.layers.0.self_attn.rotary_emb.inv_freq",
        ),
        (
            Component::AlignNet,
            "conv.bias",
            "t5stack.embed_tokens.weight",
        ),
        (
            Component::MiniCpmO,
            "llm.model.norm.weight",
            "vpm.embeddings.position_ids",
        ),
        (
            Component::MiniCpmO,
            "llm.model.norm.weight",
            "tts.head_code.0.weight",
        ),
        (
            Component::Vae,
            "decoder.conv_in.bias",
            "loss.discriminator.main.0.weight",
        ),
    ] {
        let weights = open(component, &[f32s(own, &[1.0]), f32s(harmless, &[1.0])]);
        assert_eq!(weights.unwrap().ignored(), [harmless]);
    }
}

#[test]
fn other_models_are_called_by_their_names() {
    for (name, model) in [
        ("distilled_guidance_layer.in_proj.weight", "Chroma"),
        ("double_stream_modulation_img.lin.weight", "FLUX.2"),
        ("single_stream_modulation.linear.weight", "FLUX.2"),
        ("redux_up.weight", "Redux"),
        ("controlnet_blocks.0.weight", "ControlNet"),
        ("double_blocks.0.img_attn.qkv.lora_A.weight", "LoRA"),
        (
            "joint_blocks.0.x_block.attn.qkv.weight",
            "Stable Diffusion 3",
        ),
    ] {
        let tensors = [
            f32s("img_in.bias", &[1.0]),
            f32s("a", &[1.0]),
            f32s(name, &[1.0]),
        ];
        assert_refused(&tensors, &[model, &format!("`{name}`")]);
    }
    for (channels, model) in [(12, "Fill"), (4, "Canny or Depth")] {
        let tensors = [
            Made::counting("img_in.weight", &[4, channels], 0.0),
            Made::counting("final_layer.linear.weight", &[2, 4], 0.0),
        ];
        assert_refused(&tensors, &["`img_in.weight`", model]);
    }
}
