"""Times diffusers' FluxTransformer2DModel on the weights and inputs of `x2i bench stack`.

    bench_stack.py --weights FOLDER --variant f32|bf16|int8 --size 256 --threads 2

FOLDER holds bf16.gguf (names of BFL's checkpoint), stack.json and the inputs as raw f32, all
written by x2i; the result is the velocity, f32 [image tokens, 64]. serve.py has the protocol.
int8 is PyTorch's dynamic quantization of every linear layer. Needs torch, diffusers and gguf.
"""

import argparse
import json
import warnings
from pathlib import Path

import diffusers
import gguf
import torch
from diffusers import FluxTransformer2DModel
from serve import serve

# BFL's linear layers and diffusers'; several of diffusers' are rows of one of BFL's.
ENDS = {
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
DOUBLE = {
    "img_mod.lin": ["norm1.linear"],
    "txt_mod.lin": ["norm1_context.linear"],
    "img_attn.qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
    "txt_attn.qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
    "img_attn.proj": ["attn.to_out.0"],
    "txt_attn.proj": ["attn.to_add_out"],
    "img_mlp.0": ["ff.net.0.proj"],
    "img_mlp.2": ["ff.net.2"],
    "txt_mlp.0": ["ff_context.net.0.proj"],
    "txt_mlp.2": ["ff_context.net.2"],
    "img_attn.norm.query_norm": ["attn.norm_q"],
    "img_attn.norm.key_norm": ["attn.norm_k"],
    "txt_attn.norm.query_norm": ["attn.norm_added_q"],
    "txt_attn.norm.key_norm": ["attn.norm_added_k"],
}
SINGLE = {
    "modulation.lin": ["norm.linear"],
    "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
    "linear2": ["proj_out"],
    "norm.query_norm": ["attn.norm_q"],
    "norm.key_norm": ["attn.norm_k"],
}


def diffusers_names(name):
    """`double_blocks.0.img_mod.lin.weight` -> [`transformer_blocks.0.norm1.linear.weight`]."""
    layer, end = name.rsplit(".", 1)
    end = "weight" if end == "scale" else end
    if layer in ENDS:
        return [f"{theirs}.{end}" for theirs in ENDS[layer]]
    kind, index, layer = layer.split(".", 2)
    blocks, names = {
        "double_blocks": ("transformer_blocks", DOUBLE),
        "single_blocks": ("single_transformer_blocks", SINGLE),
    }[kind]
    return [f"{blocks}.{index}.{theirs}.{end}" for theirs in names[layer]]


def load(folder, dtype, description="stack.json"):
    config = json.loads((folder / description).read_text())
    with torch.device("meta"):
        model = FluxTransformer2DModel(**config["transformer"])
    sizes = {name: value.shape for name, value in model.state_dict().items()}
    state = {}
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor written
    for tensor in gguf.GGUFReader(folder / "bf16.gguf").tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        value = torch.from_numpy(tensor.data).view(torch.bfloat16).reshape(shape)
        if "final_layer.adaLN" in tensor.name:  # BFL: shift, scale; diffusers: scale, shift
            value = torch.cat(value.chunk(2)[::-1])
        names = diffusers_names(tensor.name)
        for name, part in zip(names, value.split([sizes[name][0] for name in names])):
            state[name] = part.to(dtype, copy=True)
    model.load_state_dict(state, assign=True)
    return model.eval(), config


def inputs(folder, size, config, dtype):
    def floats(name, width):
        values = torch.from_file(str(folder / name), dtype=torch.float32, size=(folder / name).stat().st_size // 4)
        return values.reshape(1, -1, width).to(dtype)

    transformer, side = config["transformer"], size // 16
    img_ids = torch.zeros(side, side, 3)
    img_ids[..., 1] += torch.arange(side)[:, None]
    img_ids[..., 2] += torch.arange(side)[None, :]
    txt = floats("txt.f32", transformer["joint_attention_dim"])
    return {
        "hidden_states": floats(f"img-{size}.f32", transformer["in_channels"]),
        "encoder_hidden_states": txt,
        "pooled_projections": floats("vec.f32", transformer["pooled_projection_dim"])[0],
        "timestep": torch.tensor([config["sigma"]]).to(dtype),
        "img_ids": img_ids.reshape(-1, 3),
        "txt_ids": torch.zeros(txt.shape[1], 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--variant", choices=["f32", "bf16", "int8"], default="f32")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    dtype = torch.bfloat16 if args.variant == "bf16" else torch.float32
    model, config = load(args.weights, dtype)
    if args.variant == "int8":
        # In place: a second f32 model beside the first would be the peak of its memory.
        torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    given = inputs(args.weights, args.size, config, dtype)
    versions = f"torch {torch.__version__} {args.variant}, diffusers {diffusers.__version__}"
    serve(versions, lambda: model(**given, return_dict=False)[0])


if __name__ == "__main__":
    main()
