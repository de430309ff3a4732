"""Gives back what the shipped GGUF files were made of, for stages that build on it without training it again.

    python restore.py --model TEXT --work WORK      # TEXT: the folder as it was at revision f1018c6

writes, under the names of the stages that trained them,
    WORK/text.pt            the text model's tensors (stage 3), 192 wide
    WORK/flux/transformer   FLUX in diffusers' layout (stage 2)
    WORK/vae                the VAE (stage 1), and WORK/latents.pt, what it makes of every real picture
The teacher's T5 and CLIP are not shipped and stay lost. Eight-bit weights come back as float32 numbers of eight bits'
precision. Without `--model` only text.pt is written, of what stage 3 left in WORK.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

DOUBLE_BLOCKS = {
    "{p}_attn.norm.query_norm.scale": "attn.norm_{a}q.weight", "{p}_attn.norm.key_norm.scale": "attn.norm_{a}k.weight",
    "{p}_mod.lin": "norm1{c}.linear", "{p}_mlp.0": "ff{c}.net.0.proj", "{p}_mlp.2": "ff{c}.net.2",
}  # fmt: skip
ELSEWHERE = {
    "img_in": "x_embedder", "txt_in": "context_embedder", "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2", "final_layer.linear": "proj_out",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "modulation.lin": "norm.linear", "linear2": "proj_out", "norm.query_norm.scale": "attn.norm_q.weight",
    "norm.key_norm.scale": "attn.norm_k.weight",
}  # fmt: skip


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a GGUF file, dequantized."""
    from gguf import GGUFReader, dequantize

    tensors = {}
    for tensor in GGUFReader(path).tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()
        tensors[tensor.name] = values.view(*reversed(tensor.shape.tolist()))
    return tensors


# ---- FLUX: from Black Forest Labs' names to diffusers' -------------------------------------------


def diffusers_flux(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        block, _, rest = name.partition(".")
        if block == "double_blocks":
            index, _, rest = rest.partition(".")
            renamed |= {f"transformer_blocks.{index}.{k}": v for k, v in double_block(rest, tensor).items()}
        elif block == "single_blocks":
            index, _, rest = rest.partition(".")
            renamed |= {f"single_transformer_blocks.{index}.{k}": v for k, v in single_block(rest, tensor).items()}
        elif name.startswith("final_layer.adaLN_modulation"):
            shift, scale = tensor.chunk(2)  # diffusers has the scale first
            renamed[name.replace("final_layer.adaLN_modulation.1", "norm_out.linear")] = torch.cat([scale, shift])
        else:
            renamed[replaced(name, ELSEWHERE)] = tensor
    return renamed


def double_block(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    stream, (context, added) = name[:3], ("", "") if name.startswith("img") else ("_context", "added_")
    kind = name.rpartition(".")[2]
    if ".qkv." in name:
        projections = ("add_q_proj", "add_k_proj", "add_v_proj") if added else ("to_q", "to_k", "to_v")
        return {f"attn.{p}.{kind}": part for p, part in zip(projections, tensor.chunk(3))}
    if name.startswith(f"{stream}_attn.proj"):
        return {f"attn.{'to_add_out' if added else 'to_out.0'}.{kind}": tensor}
    names = {old.format(p=stream): new.format(a=added, c=context) for old, new in DOUBLE_BLOCKS.items()}
    return {replaced(name, names): tensor}


def single_block(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    if not name.startswith("linear1"):
        return {replaced(name, ELSEWHERE): tensor}
    kind, width = name.rpartition(".")[2], tensor.shape[0] // 7  # queries, keys, values and four times as much
    parts = tensor.split([width, width, width, 4 * width])
    return {f"{p}.{kind}": part for p, part in zip(("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), parts)}


def replaced(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    raise KeyError(name)


# ---- writing -------------------------------------------------------------------------------------


def restore_flux(model: Path, work: Path) -> None:
    import teacher

    transformer = teacher.build_transformer()
    transformer.load_state_dict(diffusers_flux(weights(model / "flux.gguf")))
    transformer.save_pretrained(work / "flux/transformer")


def restore_vae(model: Path, work: Path) -> None:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    import data

    numbers = json.loads((model / "model.json").read_text())["vae"]["config"]
    blocks = len(numbers["block_out_channels"])
    config = numbers | {"down_block_types": ["DownEncoderBlock2D"] * blocks, "up_block_types": ["UpDecoderBlock2D"] * blocks}
    vae = AutoencoderKL(**config).eval()
    vae.load_state_dict(convert_ldm_vae_checkpoint(weights(model / "vae.gguf"), vae.config))
    vae.save_pretrained(work / "vae")
    pictures = data.compose_all(data.load(work)[0])[1]
    with torch.no_grad():
        latents = torch.cat([vae.encode(chunk).latent_dist.mode() for chunk in pictures.split(64)])
    torch.save((latents - vae.config.shift_factor) * vae.config.scaling_factor, work / "latents.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of the GGUF files of the text model")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.model:
        text = weights(args.model / "encoder.gguf")
        assert "model.norm.weight" in text, f"{args.model}/encoder.gguf is not the text model"
        restore_flux(args.model, args.work)
        restore_vae(args.model, args.work)
    else:
        text = load_file(args.work / "mllm/model.safetensors")
    torch.save({k: v for k, v in text.items() if k.startswith("model.")}, args.work / "text.pt")


if __name__ == "__main__":
    main()
