"""Pictures of a 12-billion model with generated weights: seconds to the first one, seconds a step, memory."""

import json
import time

from machine import Watch
from process import Failed, Late, Process
from stack import median

PROMPT = "a red apple on a blue background"


def runs(check):
    """(backend, weights, limit of device memory), the ones that say most first."""
    for limit in (None, check.sizes["device_memory"]):
        for weights in ("q4_0", "bf16"):
            for backend in check.backends:
                yield backend, weights, limit


def step_seconds(events):
    """The median time of the steps after the first, which compiles kernels; with one step, its own."""
    ends, steps = [], 0
    for at, event in events:
        if event.get("phase") == "denoise" and event.get("step", 0) >= steps:
            if event["step"] > steps or not ends:
                ends.append(at)
            steps = event["step"]
    gaps = [after - before for before, after in zip(ends, ends[1:])]
    return median(gaps[1:] or gaps)


def paint(check, row, folder, limit, deadline):
    pixels = check.sizes["pixels"]
    command = check.program("generate", PROMPT, "--json", "--seed", "1", "--model", folder)
    command += ["--device", row["device"], "--precision", row["precision"], "--steps", str(check.sizes["steps"])]
    command += ["--size", "%dx%d" % (pixels, pixels), "--output", check.work / "picture.png"]
    if limit:
        command += ["--max-device-memory", limit]
    events = []
    with Watch() as watch, Process(command, check.environment, label="x2i generate") as process:
        while True:
            line = process.line(deadline)
            if line is None:
                break
            if line[1].startswith("{"):
                events.append((line[0], json.loads(line[1])))
                row["last"] = events[-1][1]
        status = process.end(deadline)
        row["seconds"] = time.monotonic() - process.began
        if status != 0:
            raise Failed("exit status %s%s" % (status, process.complaint()))
    row["device_memory"] = watch.peak()
    row["step"] = step_seconds(events)
    last = row.pop("last")
    row["phases"], row["host_memory"] = last["phases"], last["peak_memory"]


def run(check, entry, deadline):
    """Fills `entry` with a row for each run."""
    entry["pixels"], entry["steps"], entry["rows"] = check.sizes["pixels"], check.sizes["steps"], []
    for backend, weights, limit in runs(check):
        row = {"device": backend.id, "backend": backend.name, "weights": weights}
        row.update(precision=backend.half, limit=limit)
        entry["rows"].append(row)
        try:
            folder = check.files.wait(weights, deadline)
            # One that hangs must not take the time of all.
            most = time.monotonic() + max(check.sizes["paint"], (deadline - time.monotonic()) / 2)
            paint(check, row, folder, limit, min(deadline, most))
        except (Failed, Late, OSError, ValueError, KeyError) as error:
            row["failed"] = str(error)
        check.save()
