"""`x2i bench stack` on every device beside PyTorch, in turns.

Each side is a process of its own that loads the same weights once and passes when it is told to, by the protocol of
`x2i bench stack`. All are warm before the first round; in a round each passes once, so that all have the same load
and clock. A side that fails or takes too long is left out, and the others go on.
"""

import array
import json
import time

from machine import Watch, gpu_memory
from process import Failed, Late, Process

# The types of our weights, as `x2i bench stack --quantize` has them: `none` is bf16.
TYPES = ["f16", "none", "q8_0", "q4_0"]


def gflop(config, pixels):
    """Multiplications and additions of one pass's products, in billions, as `x2i bench stack` counts them."""
    sizes = config["transformer"]
    hidden = sizes["attention_head_dim"] * sizes["num_attention_heads"]
    image, text = (pixels // 16) ** 2, config["text_tokens"]
    tokens, mlp = image + text, 4 * hidden
    doubles, singles = sizes["num_layers"], sizes["num_single_layers"]
    embedders = image * sizes["in_channels"] * hidden + text * sizes["joint_attention_dim"] * hidden
    embedders += (256 + sizes["pooled_projection_dim"] + 2 * hidden) * hidden
    block = tokens * (4 * hidden + 2 * mlp) * hidden + 2 * tokens * tokens * hidden
    modulations = (12 * doubles + 3 * singles + 2) * hidden * hidden
    last = image * sizes["in_channels"] * hidden
    return 2e-9 * (embedders + (doubles + singles) * block + modulations + last)


def floats(path):
    values = array.array("f")
    values.frombytes(path.read_bytes())
    return values


def relative_error(found, exact):
    """L2 norm of the difference, divided by the norm of the exact numbers; None where one is no number."""
    if len(found) != len(exact):
        return None
    difference = sum((a - b) ** 2 for a, b in zip(found, exact))
    norm = sum(b * b for b in exact)
    error = (difference / norm) ** 0.5 if norm else None
    return error if error == error else None


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Side:
    def __init__(self, name, device, weights, precision, command):
        self.facts = {"side": name, "device": device, "weights": weights, "precision": precision, "passes": []}
        self.command = command
        self.process = None

    def start(self, check, folder, deadline):
        """Its first pass compiles kernels and touches memory."""
        with Watch() as watch:
            self.process = Process(self.command, check.environment, stdin=True, label=self.facts["side"])
            ready = self.answer(deadline)
            self.facts["device_memory"] = watch.peak()
        self.facts["versions"] = ready["versions"]
        self.facts["start"] = time.monotonic() - self.process.began
        file = folder / "result.f32"
        self.process.ask("output %s" % file)
        self.answer(deadline)
        return floats(file)

    def rehearse(self, check, deadline):
        """One pass, whose result is thrown away."""
        with Process(self.command, check.environment, label=self.facts["side"]) as process:
            while process.line(deadline):
                pass
            if process.end(deadline) != 0:
                raise Failed("exit status %s%s" % (process.child.returncode, process.complaint()))

    def answer(self, deadline):
        while True:
            line = self.process.line(deadline)
            if line is None:
                raise Failed("it ended%s" % self.process.complaint())
            if line[1].startswith("{"):
                return json.loads(line[1])

    def forward(self, deadline):
        self.process.ask("forward")
        answer = self.answer(deadline)
        self.facts["passes"].append(answer["wall"])
        self.facts["host_memory"] = answer["peak"]

    def fail(self, reason):
        self.facts["failed"] = str(reason)
        self.stop()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process = None


def common(check, folder):
    return ["--weights", folder, "--size", str(check.sizes["pixels"])]


def torch_side(check, folder, variant):
    command = [check.python, check.bundle / "torch_stack.py", "--variant", variant, "--device", check.torch_device]
    name = "PyTorch %s" % variant
    return Side(name, check.torch_device, "bf16", variant, [*command, *common(check, folder)])


def our_side(check, folder, name, backend, weights, precision):
    command = check.program("bench", "stack-serve", "--variant", weights, "--device", backend.id)
    command += ["--precision", precision, *common(check, folder)]
    return Side("x2i %s %s" % (backend.name, name), backend.id, weights, precision, command)


def sides(check, folder):
    """The exact side, and those that are measured."""
    exact, measured = None, []
    if check.torch_device:
        exact = torch_side(check, folder, "f32")
        measured.append(torch_side(check, folder, "bf16"))
    for backend in check.backends:
        if exact is None:
            exact = our_side(check, folder, "exact", backend, "none", "f32")
        for weights in TYPES:
            name = "%s in %s" % ("bf16" if weights == "none" else weights, backend.half)
            measured.append(our_side(check, folder, name, backend, weights, backend.half))
        if backend.half != "f32":
            measured.append(our_side(check, folder, "bf16 in f32", backend, "none", "f32"))
    if check.torch_device:
        # The last to start, since it may take long.
        measured.append(torch_side(check, folder, "bf16-compile"))
    return exact, measured


def start(check, entry, sides, folder, deadline):
    """Starts the exact side, and ends it; then those that are measured."""
    exact, measured = sides
    expected = None
    try:
        expected = exact.start(check, folder, min(deadline, time.monotonic() + check.sizes["start"]))
    except (Failed, Late, OSError, ValueError) as error:
        exact.fail(error)
    exact.stop()
    for side in measured:
        try:
            found = side.start(check, folder, min(deadline, time.monotonic() + check.sizes["start"]))
            side.facts["error"] = relative_error(found, expected) if expected else None
        except (Failed, Late, OSError, ValueError) as error:
            side.fail(error)
        check.save()
        if not entry["in_turn"]:
            passes(check, [side], time.monotonic() + 10)
            side.stop()


def passes(check, measured, deadline):
    """The rounds: every side once in each."""
    for _ in range(check.sizes["rounds"]):
        for side in measured:
            if side.process and time.monotonic() < deadline:
                try:
                    side.forward(deadline)
                except (Failed, Late, ValueError) as error:
                    side.fail(error)
        check.save()


def run(check, entry, deadline):
    """Fills `entry` with a row for each side; what was measured stays when the time is over."""
    folder = check.files.wait("stack", deadline)
    if check.compiling:
        # It would take the GPU's time and memory from those that are measured.
        check.compiling.join(max(0.0, 0.3 * (deadline - time.monotonic())))
    exact, measured = sides(check, folder)
    config = json.loads((folder / "stack.json").read_text())
    pixels, sizes = check.sizes["pixels"], config["transformer"]
    entry.update(pixels=pixels, gflop=gflop(config, pixels), rows=[side.facts for side in measured], exact=exact.facts)
    entry["blocks"] = [sizes["num_layers"], sizes["num_single_layers"]]
    # A dozen processes at a time need 40 GB; on smaller GPUs each runs alone.
    memory = gpu_memory()
    entry["in_turn"] = memory is None or memory.total > 60e9
    try:
        # The last fifth of the time is for the rounds.
        started = entry["began"] + 0.8 * (deadline - entry["began"])
        start(check, entry, (exact, measured), folder, started if entry["in_turn"] else deadline)
        passes(check, measured, deadline)
    finally:
        for side in [exact, *measured]:
            side.stop()
        for side in measured:
            found = side.facts["passes"]
            if found:
                side.facts["seconds"] = median(found)
                side.facts["tflops"] = entry["gflop"] / median(found) / 1000
