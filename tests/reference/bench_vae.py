"""Times the decoder of diffusers' AutoencoderKL on the weights and latents of `x2i bench vae`.

    bench_vae.py --weights FOLDER --variant f32|bf16 --size 512x512 --threads 2

FOLDER holds bf16.gguf (names of BFL's checkpoint), vae.json and the latents as raw f32, all
written by x2i; the result is the picture, f32 [3, height, width]. serve.py has the protocol.
Needs torch, diffusers and gguf.
"""

import argparse
import json
import re
import warnings
from pathlib import Path

import diffusers
import gguf
import torch
from diffusers import AutoencoderKL
from serve import serve

# BFL's names and diffusers', which counts up blocks from the coarsest.
NAMES = [
    (r"mid\.block_1\.", "mid_block.resnets.0."),
    (r"mid\.block_2\.", "mid_block.resnets.1."),
    (r"mid\.attn_1\.norm\.", "mid_block.attentions.0.group_norm."),
    (r"mid\.attn_1\.proj_out\.", "mid_block.attentions.0.to_out.0."),
    (r"mid\.attn_1\.", "mid_block.attentions.0.to_"),
    (r"nin_shortcut", "conv_shortcut"),
    (r"norm_out", "conv_norm_out"),
    (r"upsample\.conv", "upsamplers.0.conv"),
    (r"\.block\.", ".resnets."),
]


def diffusers_name(name, levels):
    name = re.sub(r"up\.(\d+)\.", lambda found: f"up_blocks.{levels - 1 - int(found[1])}.", name)
    for ours, theirs in NAMES:
        name = re.sub(ours, theirs, name)
    return name


def load(folder, dtype):
    config = json.loads((folder / "vae.json").read_text())["vae"]
    levels = len(config["block_out_channels"])
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    with torch.device("meta"):
        decoder = AutoencoderKL(**config, **blocks).decoder
    state = {}
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor written
    for tensor in gguf.GGUFReader(folder / "bf16.gguf").tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        value = torch.from_numpy(tensor.data).view(torch.bfloat16).reshape(shape)
        name = diffusers_name(tensor.name.removeprefix("decoder."), levels)
        state[name] = value.to(dtype, copy=True)
    decoder.load_state_dict(state, assign=True)
    return decoder.eval(), config


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--variant", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    dtype = torch.bfloat16 if args.variant == "bf16" else torch.float32
    decoder, config = load(args.weights, dtype)
    width, height = (int(side) // 8 for side in args.size.split("x"))
    shape = (1, config["latent_channels"], height, width)
    file = str(args.weights / f"latents-{args.size}.f32")
    latents = torch.from_file(file, dtype=torch.float32, size=torch.Size(shape).numel()).reshape(shape).to(dtype)
    versions = f"torch {torch.__version__} {args.variant}, diffusers {diffusers.__version__}"
    serve(versions, lambda: decoder(latents))


if __name__ == "__main__":
    main()
