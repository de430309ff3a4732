"""Their side of the protocol of `x2i bench ... --compare`: a process that times its own passes.

Prints one JSON line after the first pass and one for every line it reads: `forward`, or
`output FILE`, which writes the last result as raw f32.
"""

import json
import os
import sys
import time
from pathlib import Path


def peak():
    """Not getrusage's, which begins with what the parent had resident when it forked."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024


def cpu():
    return sum(os.times()[:2])


def serve(versions, forward):
    """`forward` gives a tensor."""
    result = forward()  # the first pass touches memory
    print(json.dumps({"versions": versions, "cpu": cpu(), "peak": peak()}), flush=True)
    for line in sys.stdin:
        command, _, file = line.strip().partition(" ")
        if command == "output":
            result.float().numpy().tofile(file)
            answer = {}
        else:
            wall, before = time.perf_counter(), cpu()
            result = forward()
            answer = {"wall": time.perf_counter() - wall, "cpu": cpu() - before, "peak": peak()}
        print(json.dumps(answer), flush=True)
