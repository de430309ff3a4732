"""Times diffusers' FluxTransformer2DModel at the sizes of `x2i bench stack`.

    pip install torch diffusers
    python tests/reference/bench_stack.py            # median of 5 forward passes
    x2i bench stack --compare --python python        # in turn with ours, in the same minutes

With --serve: prints one JSON line when ready, then one for every line it reads.
"""

import argparse
import json
import os
import statistics
import sys
import time

import diffusers
import torch
from diffusers import FluxTransformer2DModel

SIDE, TEXT_TOKENS = 16, 256


def build():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=128,
        num_attention_heads=24,
        joint_attention_dim=4096,
        pooled_projection_dim=768,
        guidance_embeds=False,
        axes_dims_rope=(16, 56, 56),
    )
    img_ids = torch.zeros(SIDE, SIDE, 3)
    img_ids[..., 1] += torch.arange(SIDE)[:, None]
    img_ids[..., 2] += torch.arange(SIDE)[None, :]
    inputs = {
        "hidden_states": torch.randn(1, SIDE * SIDE, 64),
        "encoder_hidden_states": torch.randn(1, TEXT_TOKENS, 4096),
        "pooled_projections": torch.randn(1, 768),
        "timestep": torch.tensor([0.5]),
        "img_ids": img_ids.reshape(-1, 3),
        "txt_ids": torch.zeros(TEXT_TOKENS, 3),
    }
    return model.eval(), inputs


def forward(model, inputs):
    wall, cpu = time.perf_counter(), sum(os.times()[:2])
    with torch.inference_mode():
        model(**inputs, return_dict=False)
    return {"wall": time.perf_counter() - wall, "cpu": sum(os.times()[:2]) - cpu}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    model, inputs = build()
    forward(model, inputs)  # the first pass touches memory
    versions = f"diffusers {diffusers.__version__}, torch {torch.__version__}"
    if args.serve:
        print(json.dumps({"versions": versions}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(forward(model, inputs)), flush=True)
        return
    times = [forward(model, inputs) for _ in range(args.runs)]
    median = {key: statistics.median(t[key] for t in times) for key in ("wall", "cpu")}
    print(f"{versions}: median of {args.runs}: {median['wall']:.3f} s wall, {median['cpu']:.3f} s CPU")


if __name__ == "__main__":
    main()
