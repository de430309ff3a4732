//! Foreign names become ours, and values with them.

use x2i_core::Error;
use x2i_core::weights::gguf::MetaValue;
use x2i_core::weights::quant::quantize;
use x2i_core::weights::{Component, Matrix, StoredType, Weights};

use crate::common::{Made, f32_bytes, safetensors, source};
use crate::gguf::write;
use crate::pairs::{flux, vae};

fn weights(component: Component, files: &[Vec<Made>]) -> x2i_core::Result<Weights> {
    let sources = files.iter().map(|tensors| source(safetensors(tensors)));
    pollster::block_on(Weights::open("part", component, sources.collect()))
}

fn loaded(component: Component, tensors: &[Made]) -> Weights {
    weights(component, &[tensors.to_vec()]).unwrap_or_else(|error| panic!("{error}"))
}

fn read(weights: &Weights, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = pollster::block_on(weights.read(name)).unwrap_or_else(|error| panic!("{error}"));
    (tensor.shape.clone(), tensor.to_f32())
}

/// Asserts that both files hold the same tensors under our names.
fn assert_same(component: Component, foreign: &[Made], ours: &[Made]) {
    let (foreign, own) = (loaded(component, foreign), loaded(component, ours));
    assert_eq!(foreign.ignored(), [] as [&str; 0]);
    assert!(own.names().eq({
        let mut names: Vec<_> = ours.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        names
    }));
    let names = |weights: &Weights| weights.names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(&foreign), names(&own));
    for name in own.names() {
        assert_eq!(read(&foreign, name), read(&own, name), "{name}");
        assert_eq!(foreign.shape(name), own.shape(name), "{name}");
    }
}

fn with_prefix(tensors: &[Made], prefix: &str) -> Vec<Made> {
    let mut tensors = tensors.to_vec();
    for tensor in &mut tensors {
        tensor.name.insert_str(0, prefix);
    }
    tensors
}

#[test]
fn diffusers_flux_equals_bfl_flux() {
    let pair = flux();
    assert_same(Component::Flux, &pair.foreign, &pair.ours);
}

#[test]
fn diffusers_vae_equals_bfl_vae() {
    let pair = vae();
    assert_same(Component::Vae, &pair.foreign, &pair.ours);
}

#[test]
fn attention_names_of_old_diffusers_are_read() {
    let mut old = vae();
    for tensor in &mut old.foreign {
        for (new, name) in [
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ] {
            tensor.name = tensor.name.replace(new, name);
        }
    }
    assert_same(Component::Vae, &old.foreign, &old.ours);
}

#[test]
fn bfls_attention_convolutions_are_matrices() {
    let shape = [2, 2, 1, 1];
    let weights = loaded(
        Component::Vae,
        &[Made::counting("decoder.mid.attn_1.q.weight", &shape, 0.0)],
    );
    let (shape, values) = read(&weights, "decoder.mid.attn_1.q.weight");
    assert_eq!(shape, [2, 2]);
    assert_eq!(values, [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn prefixes_of_all_in_one_files_are_removed() {
    let (flux, vae) = (flux(), vae());
    for prefix in [
        "model.diffusion_model.",
        "diffusion_model.",
        "module.",
        "module.diffusion_model.",
    ] {
        assert_same(
            Component::Flux,
            &with_prefix(&flux.ours, prefix),
            &flux.ours,
        );
        assert_same(
            Component::Flux,
            &with_prefix(&flux.foreign, prefix),
            &flux.ours,
        );
    }
    for prefix in ["first_stage_model.", "vae.", "module."] {
        assert_same(Component::Vae, &with_prefix(&vae.ours, prefix), &vae.ours);
        assert_same(
            Component::Vae,
            &with_prefix(&vae.foreign, prefix),
            &vae.ours,
        );
    }
}

#[test]
fn parts_of_one_file_do_not_disturb_each_other() {
    let (flux, vae) = (flux(), vae());
    let mut all = with_prefix(&flux.ours, "model.diffusion_model.");
    all.extend(with_prefix(&vae.ours, "vae."));
    all.push(Made::counting(
        "text_encoders.t5xxl.shared.weight",
        &[2],
        0.0,
    ));
    for (component, ours) in [(Component::Flux, &flux.ours), (Component::Vae, &vae.ours)] {
        let weights = loaded(component, &all);
        assert_eq!(weights.names().count(), ours.len(), "{component}");
        assert_eq!(
            weights.ignored().len(),
            all.len() - ours.len(),
            "{component}"
        );
    }
}

#[test]
fn qwen_names_of_all_versions_are_read() {
    let ours = [
        "model.embed_tokens.weight",
        "model.layers.11.self_attn.q_proj.bias",
        "model.norm.weight",
        "visual.blocks.0.attn.qkv.weight",
        "lm_head.weight",
    ];
    let newer = [
        "model.language_model.embed_tokens.weight",
        "model.language_model.layers.11.self_attn.q_proj.bias",
        "model.language_model.norm.weight",
        "model.visual.blocks.0.attn.qkv.weight",
        "lm_head.weight",
    ];
    let made = |names: &[&str]| -> Vec<Made> {
        let names = names.iter().zip(0..);
        names
            .map(|(name, i)| Made::counting(name, &[2, 2], i as f32 * 10.0))
            .collect()
    };
    assert_same(Component::Qwen2_5Vl, &made(&newer), &made(&ours));
    assert_same(Component::Qwen2_5Vl, &made(&ours), &made(&ours));
    let llama = [
        "token_embd.weight",
        "blk.11.attn_q.bias",
        "output_norm.weight",
    ];
    assert_same(Component::Qwen2_5Vl, &made(&llama), &made(&ours[..3]));
}

#[test]
fn intern_names_are_ours_and_its_patches_become_a_matrix() {
    let ours = [
        "language_model.model.embed_tokens.weight",
        "language_model.lm_head.weight",
        "vision_model.encoder.layers.3.ls1",
        "mlp1.0.bias",
    ];
    let made = |prefix: &str| -> Vec<Made> {
        let names = ours.iter().zip(0..);
        names
            .map(|(name, i)| Made::counting(&format!("{prefix}{name}"), &[2, 2], i as f32 * 10.0))
            .collect()
    };
    assert_same(Component::InternVl2_5, &made("module."), &made(""));
    let patches = "vision_model.embeddings.patch_embedding.weight";
    let (flat, stored) = ([5, 12], [5, 3, 2, 2]);
    let [flat, stored] = [&flat[..], &stored].map(|shape| [Made::counting(patches, shape, 0.0)]);
    assert_same(Component::InternVl2_5, &stored, &flat);
}

#[test]
fn llama_cpps_vision_file_is_read_with_q_k_and_v_apart_or_joined() {
    let rows = [
        ("v.blk.3.ln1.weight", "visual.blocks.3.norm1.weight"),
        ("v.blk.3.ln2.weight", "visual.blocks.3.norm2.weight"),
        (
            "v.blk.3.attn_out.weight",
            "visual.blocks.3.attn.proj.weight",
        ),
        ("v.blk.3.attn_out.bias", "visual.blocks.3.attn.proj.bias"),
        (
            "v.blk.3.ffn_gate.weight",
            "visual.blocks.3.mlp.gate_proj.weight",
        ),
        ("v.blk.3.ffn_up.bias", "visual.blocks.3.mlp.up_proj.bias"),
        (
            "v.blk.3.ffn_down.weight",
            "visual.blocks.3.mlp.down_proj.weight",
        ),
        ("v.post_ln.weight", "visual.merger.ln_q.weight"),
        ("mm.0.weight", "visual.merger.mlp.0.weight"),
        ("mm.2.bias", "visual.merger.mlp.2.bias"),
    ];
    let mut foreign = Vec::new();
    let mut ours = Vec::new();
    for ((name, own), i) in rows.iter().zip(0..) {
        foreign.push(Made::counting(name, &[2, 2], i as f32 * 10.0));
        ours.push(Made::counting(own, &[2, 2], i as f32 * 10.0));
    }
    let joined = "visual.blocks.3.attn.qkv.weight";
    ours.push(Made::counting(joined, &[6, 2], 1000.0));
    let mut apart = foreign.clone();
    for (name, i) in ["q", "k", "v"].iter().zip(0..) {
        let name = format!("v.blk.3.attn_{name}.weight");
        apart.push(Made::counting(&name, &[2, 2], 1000.0 + i as f32 * 4.0));
    }
    assert_same(Component::Qwen2_5Vl, &apart, &ours);
    foreign.push(Made::counting("v.blk.3.attn_qkv.weight", &[6, 2], 1000.0));
    assert_same(Component::Qwen2_5Vl, &foreign, &ours);
}

#[test]
fn minicpms_names_are_read_without_its_speech() {
    let patches = "vpm.embeddings.patch_embedding.weight";
    let ours = [
        "apm.conv1.weight",
        "audio_projection_layer.linear1.bias",
        "llm.model.norm.weight",
        "resampler.query",
        patches,
    ];
    let mut files: Vec<Made> = ours
        .iter()
        .map(|name| Made::counting(name, &[4, 3, 2, 2], 0.0))
        .collect();
    files.push(Made::counting("tts.head_code.0.weight", &[2, 2], 0.0));
    let weights = loaded(Component::MiniCpmO, &with_prefix(&files, "module."));
    assert!(weights.names().eq(ours));
    assert_eq!(weights.ignored(), ["module.tts.head_code.0.weight"]);
    assert_eq!(weights.shape(patches), Some(vec![4, 12]));
    assert_eq!(weights.shape("apm.conv1.weight"), Some(vec![4, 3, 2, 2]));
}

#[test]
fn the_patch_embedding_is_a_matrix() {
    let name = "visual.patch_embed.proj.weight";
    let weights = loaded(
        Component::Qwen2_5Vl,
        &[Made::counting(name, &[4, 3, 2, 2, 2], 0.0)],
    );
    assert_eq!(weights.shape(name), Some(vec![4, 24]));
}

#[test]
fn align_nets_names_are_the_references_own() {
    let names = [
        "cha_scale",
        "conv.weight",
        "mlp.projector.0.weight",
        "t5stack.block.0.layer.0.SelfAttention.q.weight",
    ];
    let made = names.map(|name| Made::counting(name, &[1, 2], 0.0));
    assert_same(Component::AlignNet, &with_prefix(&made, "module."), &made);
}

#[test]
fn shards_are_one_set() {
    let pair = flux();
    let (first, second) = pair.foreign.split_at(pair.foreign.len() / 2);
    let sharded = weights(Component::Flux, &[first.to_vec(), second.to_vec()]).expect("two shards");
    assert_eq!(sharded.names().count(), pair.ours.len());
    let whole = loaded(Component::Flux, &pair.foreign);
    for name in whole.names() {
        assert_eq!(read(&sharded, name), read(&whole, name), "{name}");
    }
    let error = weights(Component::Flux, &[first.to_vec(), first.to_vec()]).expect_err("twice");
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn a_tensor_in_two_namings_is_refused() {
    let q = Made::counting("transformer_blocks.0.attn.to_q.weight", &[2, 2], 0.0);
    let qkv = Made::counting("double_blocks.0.img_attn.qkv.weight", &[6, 2], 0.0);
    for files in [[q.clone(), qkv.clone()], [qkv, q]] {
        let files = files.map(|tensor| vec![tensor]);
        let error = weights(Component::Flux, &files)
            .expect_err("two namings")
            .to_string();
        assert!(error.contains("twice"), "{error}");
    }
}

#[test]
fn a_missing_piece_is_named_as_the_file_would() {
    let pieces = ["to_q", "to_v"].map(|name| {
        Made::counting(
            &format!("transformer_blocks.3.attn.{name}.weight"),
            &[2, 2],
            0.0,
        )
    });
    match weights(Component::Flux, &[pieces.to_vec()]) {
        Err(Error::MissingTensor { file, name }) => {
            assert_eq!(file, "part");
            assert_eq!(name, "transformer_blocks.3.attn.to_k.weight");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pieces_that_do_not_fit_are_refused() {
    let shapes = [[2, 2], [2, 2], [2, 3]];
    let pieces = ["to_q", "to_k", "to_v"]
        .iter()
        .zip(shapes)
        .map(|(name, shape)| {
            Made::counting(
                &format!("transformer_blocks.0.attn.{name}.weight"),
                &shape,
                0.0,
            )
        });
    let error = weights(Component::Flux, &[pieces.collect()])
        .expect_err("a misfit")
        .to_string();
    assert!(
        error.contains("transformer_blocks.0.attn.to_v.weight"),
        "{error}"
    );
    let short = quantize(&[1.0; 32], StoredType::Q8_0);
    let short = vec![(
        (
            "norm_out.linear.bias".to_owned(),
            StoredType::Q8_0,
            vec![32],
        ),
        short,
    )];
    let short = vec![source(write(Vec::new(), short))];
    let error = pollster::block_on(Weights::open("part", Component::Flux, short));
    let error = error.expect_err("halves of a block").to_string();
    assert!(error.contains("norm_out.linear.bias"), "{error}");
    let odd = Made::counting("norm_out.linear.bias", &[3], 0.0);
    let error = weights(Component::Flux, &[vec![odd]])
        .expect_err("odd halves")
        .to_string();
    assert!(error.contains("norm_out.linear.bias"), "{error}");
}

#[test]
fn another_models_file_says_so() {
    let other = Made::counting("bert.embeddings.weight", &[2], 0.0);
    let error = weights(Component::Vae, &[vec![other]])
        .expect_err("no VAE")
        .to_string();
    assert!(
        error.contains("VAE") && error.contains("bert.embeddings.weight"),
        "{error}"
    );
}

#[test]
fn missing_tensors_and_wrong_shapes_are_named_in_full() {
    let weights = loaded(Component::Flux, &flux().ours);
    let device = burn::tensor::Device::flex();
    let scope = weights
        .scope(&device)
        .child("double_blocks")
        .child(1)
        .child("img_mlp.0");
    assert!(scope.contains("weight"));
    assert_eq!(scope.shape("weight"), Some(vec![2, 3]));
    let tensor = pollster::block_on(scope.tensor("weight", [2, 3])).expect("a tensor");
    let values = tensor.into_data().try_to_vec::<f32>().expect("f32");
    assert_eq!(values, read(&weights, "double_blocks.1.img_mlp.0.weight").1);
    match pollster::block_on(scope.tensor("scale", [2, 3])) {
        Err(Error::MissingTensor { name, .. }) => {
            assert_eq!(name, "double_blocks.1.img_mlp.0.scale");
        }
        other => panic!("{other:?}"),
    }
    let expected =
        "tensor `double_blocks.1.img_mlp.0.weight` has shape [2, 3], the config asks for [3, 2]";
    let error = pollster::block_on(scope.matrix("weight", [3, 2])).expect_err("a wrong shape");
    assert!(error.to_string().ends_with(expected), "{error}");
    let error = pollster::block_on(scope.tensor("weight", [6])).expect_err("a wrong rank");
    assert!(matches!(error, Error::Shape { .. }), "{error}");
}

/// A FLUX attention in GGUF with q, k and v of these types.
fn gguf_qkv(types: [StoredType; 3]) -> Weights {
    let tensors = ["to_q", "to_k", "to_v"].iter().zip(types).zip(0..);
    let tensors = tensors.map(|((name, stored), i)| {
        let name = format!("transformer_blocks.0.attn.{name}.weight");
        let values: Vec<f32> = (0..64).map(|j| (i * 64 + j - 90) as f32).collect();
        ((name, stored, vec![2, 32]), quantize(&values, stored))
    });
    let metadata = vec![("general.architecture".to_owned(), MetaValue::from("flux"))];
    let bytes = write(metadata, tensors.collect());
    let weights = Weights::open("part", Component::Flux, vec![source(bytes)]);
    pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn blocks_of_one_type_are_joined_as_blocks() {
    let name = "double_blocks.0.img_attn.qkv.weight";
    let weights = gguf_qkv([StoredType::Q8_0; 3]);
    assert_eq!(weights.stored(name), Some(StoredType::Q8_0));
    let (shape, values) = read(&weights, name);
    assert_eq!(shape, [6, 32]);
    let all: Vec<f32> = (0..192).map(|i| (i - 90) as f32).collect();
    let expected = quantize(&all, StoredType::Q8_0);
    let expected = x2i_core::weights::quant::dequantize(&expected, StoredType::Q8_0);
    assert_eq!(values, expected);
    let device = burn::tensor::Device::flex();
    let scope = weights.scope(&device).child("double_blocks.0.img_attn.qkv");
    let matrix = pollster::block_on(scope.matrix("weight", [6, 32])).expect("blocks");
    let Matrix::Quantized(blocks) = matrix else {
        panic!("{matrix:?} should stay in blocks");
    };
    let back = blocks.dequantize();
    assert_eq!(back.dims(), [6, 32]);
    let back = back.into_data().try_to_vec::<f32>().expect("f32");
    assert_eq!(back, expected);
}

#[test]
fn blocks_of_several_types_become_f32() {
    let name = "double_blocks.0.img_attn.qkv.weight";
    let weights = gguf_qkv([StoredType::Q8_0, StoredType::F16, StoredType::F32]);
    assert_eq!(weights.stored(name), Some(StoredType::F32));
    let tensor = pollster::block_on(weights.read(name)).expect("a tensor");
    assert_eq!(tensor.stored, StoredType::F32);
    assert_eq!(tensor.bytes.len(), 6 * 32 * 4);
    let last: Vec<f32> = (128..192).map(|i| (i - 90) as f32).collect();
    assert!(tensor.bytes.ends_with(&f32_bytes(&last)));
}
