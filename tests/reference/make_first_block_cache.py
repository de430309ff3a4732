"""Makes tests/goldens/first_block_cache: pictures by the transformer of tests/goldens/flux_dev_tiny, without a
cache and with diffusers' FirstBlockCacheConfig at several thresholds. Of every step it has the velocity, and
whether diffusers skipped the blocks after the first.

The thresholds are chosen here: halfway between two steps' changes, as far from both as possible, so that rounding
decides nothing.

    pip install torch diffusers transformers accelerate safetensors     (made with torch 2.15.0 and diffusers 0.42.1)
    python3 tests/reference/make_first_block_cache.py [--out DIR]
"""

import argparse
import json
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import FirstBlockCacheConfig, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.hooks.first_block_cache import FBCHeadBlockHook
from safetensors.torch import load_file, save_file

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
MODEL = GOLDENS / "flux_dev_tiny"
STEPS = 10
# The numbers of FLUX.1-dev's scheduler, for which FluxPipeline computes mu of the image tokens.
SCHEDULER = dict(
    num_train_timesteps=1000, use_dynamic_shifting=True, shift=3.0, base_shift=0.5, max_shift=1.15,
    base_image_seq_len=256, max_image_seq_len=4096,
)
# How many of the steps after the first each picture skips; the last skips all.
SKIPS = (2, 5, STEPS - 1)


class Watched:
    """Records what diffusers decides after each first block, and the change it decides by."""

    def __init__(self):
        self.skipped, self.changes = [], []
        self.decide = FBCHeadBlockHook._should_compute_remaining_blocks
        watched = self

        def decide(hook, residual):
            computes = watched.decide(hook, residual)
            last = hook.state_manager.get_state().head_block_residual
            change = float("inf") if last is None else ((residual - last).abs().mean() / last.abs().mean()).item()
            watched.skipped.append(not computes)
            watched.changes.append(change)
            return computes

        FBCHeadBlockHook._should_compute_remaining_blocks = decide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=GOLDENS / "first_block_cache")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)

    transformer = FluxTransformer2DModel.from_pretrained(MODEL, torch_dtype=torch.float32).eval()
    given = load_file(MODEL / "golden.safetensors")
    watched = Watched()
    sigmas, plain, _, _ = paint(transformer, given, None, watched)
    tensors = {"in.sigmas": sigmas, "out.off.velocities": plain}
    pictures = []
    for skips in SKIPS:
        threshold = threshold_of(transformer, given, skips, watched)
        _, velocities, skipped, changes = paint(transformer, given, threshold, watched)
        margin = min(abs(change - threshold) / threshold for change in changes[1:])
        apart = ((velocities - plain).norm() / plain.norm()).item()
        tag = f"threshold_{threshold}"
        print(f"{tag}: skipped {skipped}, margin {margin:.3f}, velocities {apart:.3f} from those without")
        assert margin > 0.01, "rounding could decide"
        tensors[f"out.{tag}.velocities"] = velocities
        pictures.append({"threshold": threshold, "skipped": skipped})
    out.mkdir(parents=True, exist_ok=True)
    golden = out / "golden.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, golden)
    golden.chmod(0o644)
    case = {"model": "flux_dev_tiny", "steps": STEPS, "pictures": pictures}
    (out / "case.json").write_text(json.dumps(case, indent=2) + "\n")
    (out / "README.md").write_text(README.format(torch=torch.__version__, diffusers=diffusers.__version__))


def threshold_of(transformer, given, skips, watched) -> float:
    """The threshold that skips so many steps and is furthest from every change; three digits are enough."""
    found = []
    for threshold in np.geomspace(1e-3, 3.0, 400):
        threshold = float(f"{threshold:.3g}")
        _, _, skipped, changes = paint(transformer, given, threshold, watched)
        if sum(skipped) == skips:
            found.append((min(abs(change - threshold) / threshold for change in changes[1:]), threshold))
    assert found, f"no threshold skips {skips} steps"
    return max(found)[1]


def paint(transformer, given, threshold, watched):
    """All sigmas, the velocity of every step `[steps, batch, tokens, channels]`, and what was decided."""
    scheduler = FlowMatchEulerDiscreteScheduler(**SCHEDULER)
    latents = given["in.hidden_states"]
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS), mu=shift(latents.shape[1]))
    watched.skipped, watched.changes = [], []
    if threshold is not None:
        transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    velocities = []
    for timestep in scheduler.timesteps:
        with transformer.cache_context("cond"):
            velocity = transformer(
                hidden_states=latents,
                timestep=timestep.expand(latents.shape[0]) / 1000,
                guidance=given["in.guidance"],
                pooled_projections=given["in.pooled_projections"],
                encoder_hidden_states=given["in.encoder_hidden_states"],
                txt_ids=given["in.txt_ids"],
                img_ids=given["in.img_ids"],
                return_dict=False,
            )[0]
        velocities.append(velocity)
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
    if threshold is not None:
        transformer.disable_cache()
    return scheduler.sigmas, torch.stack(velocities), watched.skipped, watched.changes


def shift(tokens: int) -> float:
    """FluxPipeline's mu."""
    low, high = SCHEDULER["base_image_seq_len"], SCHEDULER["max_image_seq_len"]
    slope = (SCHEDULER["max_shift"] - SCHEDULER["base_shift"]) / (high - low)
    return tokens * slope + SCHEDULER["base_shift"] - slope * low


README = """# first_block_cache

Made by tests/reference/make_first_block_cache.py: float32, torch {torch} CPU (1 thread), diffusers {diffusers}.
`golden.safetensors`: `in.*` inputs, `out.*` results.

Pictures by the transformer and the inputs of ../flux_dev_tiny (`case.json`'s `model`): both batch items from
in.hidden_states as noise, all steps at the levels in.sigmas (dynamic shift by FLUX.1-dev's numbers), Euler steps.
One picture without a cache (out.off.velocities), the others with `enable_cache(FirstBlockCacheConfig(threshold))`:
out.threshold_X.velocities [steps, batch, tokens, 64]. case.json has each threshold, and which steps it skips.
Formulae (own words)
- r = what double block 0 adds to the image stream. change = mean|r - r_last| / mean|r_last|, over the whole batch,
  where r_last is that of the last step that ran all blocks. The step runs all blocks where there is no r_last or
  change > threshold.
- A step that runs all blocks keeps r, and d = image stream after the last single block - image stream after double
  block 0. A step that does not goes to the last layer with its image stream after double block 0 + d.
Thresholds are at least 1 % from every change that they are compared with. Tolerance: as ../flux_dev_tiny.
"""

main()
