"""Makes tests/community/*.gguf: the tiny golden models as the community's own tools lay them out.

    flux-tiny-Q4_0.gguf           as ComfyUI-GGUF's convert.py and its patched llama-quantize write FLUX
    qwen2.5-vl-tiny-Q8_0.gguf     as llama.cpp's convert_hf_to_gguf.py and llama-quantize write the LLM
    mmproj-qwen2.5-vl-tiny.gguf   as convert_hf_to_gguf.py --mmproj writes the vision tower, in f16

Names come from gguf-py's own tables; which keys and types are written, and how the vision tower's
tensors are split, follows these tools (September 2025).

    pip install numpy gguf safetensors
    python3 tests/reference/make_community_files.py
"""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Type
from safetensors.numpy import load_file

TESTS = Path(__file__).resolve().parents[1]
GOLDENS, OUT = TESTS / "goldens", TESTS / "community"
SUFFIXES = (".weight", ".bias")


def add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: Type) -> None:
    """As llama-quantize: rows that blocks do not divide fall back to f16."""
    block = gguf.GGML_QUANT_SIZES[kind][0]
    if values.shape[-1] % block:
        kind = Type.F16
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bfl(tensors: dict[str, np.ndarray], config: dict) -> dict[str, np.ndarray]:
    """diffusers' FLUX in BFL's names: the published checkpoint that ComfyUI-GGUF starts from."""
    made = {}

    def take(ours: str, *theirs: str, leaves: tuple[str, ...] = SUFFIXES) -> None:
        for leaf in leaves:
            made[ours + leaf] = np.concatenate([tensors[name + leaf] for name in theirs])

    embedders = [("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance")]
    for ours, theirs in embedders[: 3 if config["guidance_embeds"] else 2]:
        take(f"{ours}.in_layer", f"time_text_embed.{theirs}_embedder.linear_1")
        take(f"{ours}.out_layer", f"time_text_embed.{theirs}_embedder.linear_2")
    take("img_in", "x_embedder")
    take("txt_in", "context_embedder")
    for n in range(config["num_layers"]):
        ours, theirs = f"double_blocks.{n}", f"transformer_blocks.{n}"
        streams = [
            ("img", "norm1", ("to_q", "to_k", "to_v"), "to_out.0", "ff", ("norm_q", "norm_k")),
            ("txt", "norm1_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out",
             "ff_context", ("norm_added_q", "norm_added_k")),
        ]
        for stream, norm, qkv, out, mlp, (norm_q, norm_k) in streams:
            take(f"{ours}.{stream}_mod.lin", f"{theirs}.{norm}.linear")
            take(f"{ours}.{stream}_attn.qkv", *[f"{theirs}.attn.{piece}" for piece in qkv])
            take(f"{ours}.{stream}_attn.proj", f"{theirs}.attn.{out}")
            take(f"{ours}.{stream}_mlp.0", f"{theirs}.{mlp}.net.0.proj")
            take(f"{ours}.{stream}_mlp.2", f"{theirs}.{mlp}.net.2")
            for which, name in (("query", norm_q), ("key", norm_k)):
                made[f"{ours}.{stream}_attn.norm.{which}_norm.scale"] = tensors[f"{theirs}.attn.{name}.weight"]
    for n in range(config["num_single_layers"]):
        ours, theirs = f"single_blocks.{n}", f"single_transformer_blocks.{n}"
        take(f"{ours}.modulation.lin", f"{theirs}.norm.linear")
        take(f"{ours}.linear1", *[f"{theirs}.{piece}" for piece in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")])
        take(f"{ours}.linear2", f"{theirs}.proj_out")
        for which, name in (("query", "norm_q"), ("key", "norm_k")):
            made[f"{ours}.norm.{which}_norm.scale"] = tensors[f"{theirs}.attn.{name}.weight"]
    take("final_layer.linear", "proj_out")
    for leaf in SUFFIXES:  # diffusers has (scale, shift), BFL (shift, scale)
        scale, shift = np.split(tensors[f"norm_out.linear{leaf}"], 2)
        made[f"final_layer.adaLN_modulation.1{leaf}"] = np.concatenate([shift, scale])
    return made


def flux() -> None:
    folder = GOLDENS / "pipeline_tiny/flux/transformer"
    config = json.loads((folder / "config.json").read_text())
    tensors = bfl(load_file(folder / "diffusion_pytorch_model.safetensors"), config)
    writer = gguf.GGUFWriter(OUT / "flux-tiny-Q4_0.gguf", arch="flux")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    kept = ("img_in.", "txt_in.", "time_in.", "vector_in.", "guidance_in.", "final_layer.")
    for name, values in tensors.items():
        if values.ndim == 1 or values.size <= 1024:
            kind = Type.F32
        elif name.startswith(kept):
            kind = Type.BF16 if name.startswith("txt_in.") else Type.F16
        else:
            kind = Type.Q4_0
        add(writer, name, values, kind)
    finish(writer)


def llm(config: dict, tensors: dict[str, np.ndarray]) -> None:
    folder = GOLDENS / "qwen2_5_vl_tiny"
    writer = gguf.GGUFWriter(OUT / "qwen2.5-vl-tiny-Q8_0.gguf", arch="qwen2vl")
    writer.add_type("model")
    writer.add_name("Qwen2.5 VL Tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_rope_dimension_sections([*config["rope_scaling"]["mrope_section"], 0])
    vocabulary(writer, folder, config["vocab_size"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2VL, config["num_hidden_layers"])
    for name, values in tensors.items():
        if not name.startswith("visual."):
            kind = Type.F32 if values.ndim == 1 else Type.Q8_0
            add(writer, names.get_name(name, try_suffixes=SUFFIXES), values, kind)
    finish(writer)


def vocabulary(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    """As `_set_vocab_gpt2`, which fills the embedding's unused rows with `[PAD..]`."""
    vocab = json.loads((folder / "vocab.json").read_text())
    added = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [gguf.TokenType.UNUSED] * size
    for token, i in vocab.items():
        tokens[i], kinds[i] = token, gguf.TokenType.NORMAL
    for i, token in added.items():
        tokens[int(i)] = token["content"]
        kinds[int(i)] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    lines = (folder / "merges.txt").read_text().splitlines()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([line for line in lines if line and not line.startswith("#version")])
    ids = {token["content"]: int(i) for i, token in added.items()}
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_bos_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)


def vision(config: dict, preprocessor: dict, tensors: dict[str, np.ndarray]) -> None:
    tower = config["vision_config"]
    writer = gguf.GGUFWriter(OUT / "mmproj-qwen2.5-vl-tiny.gguf", arch="clip")
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_vision_projection_dim(config["hidden_size"])
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(preprocessor["patch_size"])
    writer.add_vision_embedding_length(tower["hidden_size"])
    writer.add_vision_feed_forward_length(tower["intermediate_size"])
    writer.add_vision_block_count(tower["depth"])
    writer.add_vision_head_count(tower["num_heads"])
    writer.add_vision_image_mean(preprocessor["image_mean"])
    writer.add_vision_image_std(preprocessor["image_std"])
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(tower["fullatt_block_indexes"][0] + 1)
    writer.add_vision_attention_layernorm_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, tower["depth"])

    def put(name: str, values: np.ndarray) -> None:
        kind = Type.F32 if values.ndim == 1 else Type.F16
        add(writer, names.get_name(name, try_suffixes=SUFFIXES), values, kind)

    for name, values in tensors.items():
        if not name.startswith("visual."):
            continue
        if ".qkv." in name:
            for which, part in zip("qkv", np.split(values, 3)):
                put(name.replace("qkv", which), part)
        elif name == "visual.patch_embed.proj.weight":
            for suffix, frame in ((".weight", 0), (".weight.1", 1)):
                add(writer, f"v.patch_embd{suffix}", values[:, :, frame], Type.F16)
        else:
            put(name, values)
    finish(writer)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    folder = GOLDENS / "qwen2_5_vl_tiny"
    config = json.loads((folder / "config.json").read_text())
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    flux()
    llm(config, tensors)
    vision(config, preprocessor, tensors)


main()
