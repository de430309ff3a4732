"""Times forward passes for `x2i bench NAME --compare`, or by itself.

With --serve: prints one JSON line when ready, then one for every line it reads.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

import diffusers
import torch


def timed(forward):
    wall, cpu = time.perf_counter(), sum(os.times()[:2])
    with torch.inference_mode():
        forward()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": sum(os.times()[:2]) - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main(description, build):
    """`build()` gives the function of one forward pass."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    forward = build()
    timed(forward)  # the first pass touches memory
    versions = f"diffusers {diffusers.__version__}, torch {torch.__version__}"
    if args.serve:
        print(json.dumps({"versions": versions}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(timed(forward)), flush=True)
        return
    times = [timed(forward) for _ in range(args.runs)]
    median = {key: statistics.median(t[key] for t in times) for key in ("wall", "cpu")}
    print(
        f"{versions}: median of {args.runs}: {median['wall']:.3f} s wall, {median['cpu']:.3f} s CPU, "
        f"peak {times[-1]['peak'] / 1e9:.2f} GB"
    )
