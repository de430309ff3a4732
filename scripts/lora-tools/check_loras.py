"""Loads LoRAs of `x2i train lora` with diffusers, and compares what they change with x2i's pictures.

    python check_loras.py MODEL GOLDENS FOLDER

FOLDER holds `plain.png`, and for every `NAME.safetensors` x2i's picture `NAME.png` with it: one step of the tiny model
MODEL on the golden prompt, seed 3. A picture has 8 bits a value. It is right when all of its values are within 1 of
diffusers' picture and 99 % are the same, while the LoRA changes the picture by 4 on the average at least.
"""

import json
import re
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from PIL import Image
from safetensors.torch import load_file

SEED, HEIGHT, WIDTH, GUIDANCE = 3, 96, 128, 3.5
LEAST_CHANGE, LEAST_SAME = 4, 0.99
# ComfyUI reads DoRA's lengths under another name, and kohya's file has no place for them.
NOT_FOR_COMFYUI = "dora"
NEED_METADATA = ("alpha", "dora")
# From 0.34 on diffusers reads a file's alpha, and whether it is DoRA, from its metadata. Before, alpha is the rank.
READS_METADATA = tuple(map(int, diffusers.__version__.split(".")[:2])) >= (0, 34)
# diffusers splits kohya's joined layers of single blocks by FLUX.1's sizes, whatever the model's are.
NAMES_ALONE = "kohya-blocks"


class Painter:
    def __init__(self, model: Path, golden: dict):
        self.model, self.golden = model, golden
        self.vae = AutoencoderKL.from_pretrained(model / "vae").eval()

    @torch.no_grad()
    def paint(self, lora: Path | None) -> np.ndarray:
        """One step from noise, as [height, width, 3] of 0..255."""
        transformer = FluxTransformer2DModel.from_pretrained(self.model / "transformer").eval()
        if lora is not None:
            load(lora, transformer)
        rows, columns = HEIGHT // 8, WIDTH // 8
        noise = torch.randn((1, 16, rows, columns), generator=torch.Generator().manual_seed(SEED))
        tokens = noise.view(1, 16, rows // 2, 2, columns // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, -1, 64)
        txt = self.golden["out.prompt_embeds"]
        grid = torch.meshgrid(torch.arange(rows // 2), torch.arange(columns // 2), indexing="ij")
        ids = torch.stack([torch.zeros_like(grid[0]), *grid], -1).reshape(-1, 3).float()
        velocity = transformer(
            hidden_states=tokens, timestep=torch.ones(1), guidance=torch.full((1,), GUIDANCE),
            pooled_projections=self.golden["out.pooled_prompt_embeds"], encoder_hidden_states=txt,
            txt_ids=torch.zeros(txt.shape[1], 3), img_ids=ids, return_dict=False,
        )[0]  # fmt: skip
        latents = (tokens - velocity).view(1, rows // 2, columns // 2, 16, 2, 2).permute(0, 3, 1, 4, 2, 5)
        latents = latents.reshape(1, 16, rows, columns)
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor + self.vae.config.shift_factor).sample
        pixels = (decoded[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255
        return pixels.round().numpy()


def load(lora: Path, transformer) -> None:
    more = {"return_lora_metadata": True} if READS_METADATA else {}
    state, alphas, *metadata = FluxPipeline.lora_state_dict(str(lora), return_alphas=True, **more)
    wanted = sum(".lora_A." in key or ".lora_down." in key for key in state)
    more = {"metadata": metadata[0]} if READS_METADATA else {}
    FluxPipeline.load_lora_into_transformer(state, alphas, transformer, **more)
    modules = sum(hasattr(module, "lora_A") for module in transformer.modules())
    assert modules == wanted > 0, f"{lora.name}: {wanted} pairs, {modules} modules have one"


def comfyui_names(config: dict) -> set[str]:
    """What ComfyUI looks up for FLUX: its own modules under `lora_unet_`, diffusers' under `transformer.`."""
    double = [f"{side}_{part}" for side in ("img", "txt") for part in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2", "mod.lin")]
    single = ["linear1", "linear2", "modulation.lin"]
    theirs = [f"attn.{name}" for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out")]
    theirs += [f"{ff}.net.{part}" for ff in ("ff", "ff_context") for part in ("0.proj", "2")]
    theirs += ["norm1.linear", "norm1_context.linear"]
    of_single = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out", "norm.linear"]
    names = set()
    for block in range(config["num_layers"]):
        names |= {f"lora_unet_double_blocks_{block}_{name.replace('.', '_')}" for name in double}
        names |= {f"transformer.transformer_blocks.{block}.{name}" for name in theirs}
    for block in range(config["num_single_layers"]):
        names |= {f"lora_unet_single_blocks_{block}_{name.replace('.', '_')}" for name in single}
        names |= {f"transformer.single_transformer_blocks.{block}.{name}" for name in of_single}
    return names


COMFYUI_ENDINGS = r"\.(lora_(A|B|down|up)\.weight|alpha|dora_scale)$"


def unknown_to_comfyui(lora: Path, names: set[str]) -> list[str]:
    return [key for key in load_file(lora) if re.sub(COMFYUI_ENDINGS, "", key) not in names]


def main() -> int:
    model, goldens, folder = map(Path, sys.argv[1:])
    painter = Painter(model, load_file(goldens / "pipeline_tiny/golden.safetensors"))
    names = comfyui_names(json.loads((model / "transformer/config.json").read_text()))
    plain = np.asarray(Image.open(folder / "plain.png").convert("RGB")).astype(float)
    failed = False
    for lora in [None, *sorted(folder.glob("*.safetensors"))]:
        name = lora.stem if lora else "plain"
        others = unknown_to_comfyui(lora, names) if lora and NOT_FOR_COMFYUI not in name else []
        comfyui = f"; ComfyUI has no {others[0]}" if others else ""
        if name.startswith(NAMES_ALONE):
            print(f"{'FAILED' if others else 'ok'}: {name}: names alone{comfyui}")
            failed |= bool(others)
            continue
        if not READS_METADATA and name.endswith(NEED_METADATA):
            print(f"not run: diffusers {diffusers.__version__}, {name}: it does not read the metadata of a file")
            continue
        ours = np.asarray(Image.open(folder / f"{name}.png").convert("RGB")).astype(float)
        apart = np.abs(ours - painter.paint(lora))
        changes = np.abs(ours - plain).mean()
        right = apart.max() <= 1 and (apart == 0).mean() >= LEAST_SAME and (lora is None or changes >= LEAST_CHANGE)
        failed |= not right or bool(others)
        print(
            f"{'ok' if right and not others else 'FAILED'}: diffusers {diffusers.__version__}, {name}: "
            f"{(apart == 0).mean():.4f} of the values are the same, {apart.max():.0f} apart at the most; "
            f"the LoRA changes {changes:.1f}{comfyui}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
