#!/usr/bin/env python3
"""Measures x2i on this machine's GPU, in at most 8 minutes.

    run.py [--out DIR] [--small] [--keep]

Runs from an unpacked bundle of `scripts/gpu-check pack`, on Linux with Python 3.8; PyTorch is measured too, where there
is one. DIR (default: here) gets gpu-check.json, which is written after every part and every row, so that a run which
is cut keeps what it measured. A part that fails or takes too long does not stop the others; the file says what was not
run, and why. --small rehearses all of it in small sizes on any machine, with a software GPU too: the same code, but its
times are no results. --keep leaves the large files for the next run. `scripts/gpu-check table` makes tables of it.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent
sys.path.insert(0, str(BUNDLE))

import machine  # noqa: E402
import painting  # noqa: E402
import stack  # noqa: E402
from files import BYTES, Files  # noqa: E402
from process import Failed, Late, Process, kill_all, output  # noqa: E402

# The parts in their order, and their seconds. Time that one leaves is the next one's; the sum is the limit of all.
# Large files are made meanwhile, so that the tests, whose times mean nothing, come first.
PARTS = [
    ("doctor", 30),
    ("doctor kernels", 15),
    ("kernels vulkan", 35),
    ("kernels cuda", 25),
    ("parity vulkan f32", 25),
    ("parity vulkan half", 25),
    ("parity cuda f32", 25),
    ("parity cuda half", 25),
    ("stack", 130),
    ("painting", 135),
]
assert sum(seconds for _, seconds in PARTS) <= 470  # ten more for the start and the end

FULL = {
    "pixels": 1024,
    "rounds": 10,
    "steps": 4,
    "stack_blocks": [],
    "model_blocks": [],
    "device_memory": "8GiB",
    "start": 60,  # seconds of a side of the stack until its first pass is done
    "paint": 45,  # seconds of a picture, at least
    "slower": 1,
}
# Rehearsals on a software GPU: everything is run, and nothing takes long.
SMALL = {
    "pixels": 64,
    "rounds": 1,
    "steps": 2,
    "stack_blocks": ["--double-blocks", "1", "--single-blocks", "1"],
    "model_blocks": ["--double-blocks", "1", "--single-blocks", "3"],
    "device_memory": "1500MiB",
    "start": 240,
    "paint": 120,
    "slower": 3,
}


class Backend:
    """One way to the GPU."""

    def __init__(self, name, device, half):
        self.name, self.half = name, half
        self.id, self.device = device["id"], device


class NotRun(Exception):
    """A part that this machine, or this bundle, can't run."""


class Check:
    """One run: where things are, and what was found."""

    def __init__(self, arguments):
        self.bundle, self.small = BUNDLE, arguments.small
        self.sizes = SMALL if self.small else FULL
        self.out = arguments.out.resolve()
        self.backends, self.files, self.compiling = [], None, None
        self.python, self.torch_device = sys.executable, None
        self.began = time.monotonic()
        self.found = {
            "rehearsal": self.small,
            "bundle": json.loads((BUNDLE / "bundle.json").read_text()),
            "machine": machine.facts(),
            "sizes": self.sizes,
            "parts": [],
            "complete": False,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        self.work = machine.place_for_files(sum(BYTES.values()), self.out) / ("x2i-gpu-check-%d" % os.getuid())
        self.work.mkdir(mode=0o700, exist_ok=True)
        self.lock = open(self.work / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("error: another run is under way in %s" % self.work)
        self.environment, done = machine.vulkan_environment(BUNDLE, self.work)
        self.found["vulkan"] = done
        self.found["files"] = {"folder": str(self.work)}

    def program(self, *words):
        return [str(self.bundle / "x2i-gpu-check"), *map(str, words)]

    def save(self):
        """Whole or not at all."""
        self.found["seconds"] = round(time.monotonic() - self.began, 1)
        part = self.out / "gpu-check.json.part"
        part.write_text(json.dumps(self.found, indent=1) + "\n")
        part.replace(self.out / "gpu-check.json")

    def backend(self, name):
        for backend in self.backends:
            if backend.name == name:
                return backend
        raise NotRun(self.missing[name])

    # The parts.

    def doctor(self, words, entry, deadline):
        """The devices; or, as `doctor kernels`, every kernel of ours on them against the CPU."""
        if words:
            return self.doctor_kernels(entry, deadline)
        text = output(self.program("doctor", "--json"), deadline, self.environment, "x2i doctor")
        doctor = json.loads(text)
        devices = entry["devices"] = [found["device"] for found in doctor["devices"]]
        entry["cuda_built"] = doctor["cuda_built"]
        self.missing = {
            "vulkan": "no hardware Vulkan GPU" + "".join("; " + done for done in self.found["vulkan"]),
            "cuda": "no CUDA device" if doctor["cuda_built"] else "this bundle was built without CUDA",
        }
        for name, kind in (("vulkan", "wgpu"), ("cuda", "cuda")):
            of_kind = [device for device in devices if device["kind"] == kind]
            hardware = [device for device in of_kind if not device["software"]]
            chosen = hardware or (of_kind if self.small else [])
            if chosen:
                self.backends.append(Backend(name, chosen[0], self.half(chosen[0], deadline)))
        entry["backends"] = {backend.name: [backend.id, backend.half] for backend in self.backends}
        self.torch(entry, deadline)

    def doctor_kernels(self, entry, deadline):
        if not self.backends:
            raise NotRun("; ".join(self.missing.values()))
        command = self.program("doctor", "--kernels", "--json")
        # It ends with an error where a kernel is wrong.
        text = output(command, deadline, self.environment, "x2i doctor --kernels", must_succeed=False)
        entry.update(passed=0, failures=[])
        wanted = [backend.id for backend in self.backends]
        for found in json.loads(text)["devices"]:
            if found["device"]["id"] not in wanted:
                continue
            tried = entry.setdefault("kernels", {})[found["device"]["id"]] = found["kernels"]
            for precision in tried:
                if "error" in precision:
                    entry["failures"].append({"test": precision["precision"], "failure": precision["error"]})
                for check in precision.get("checks", []):
                    if check["agrees"]:
                        entry["passed"] += 1
                    else:
                        name = "%s in %s" % (check["operation"], precision["precision"])
                        entry["failures"].append({"test": name, "failure": "off by %s" % check["error"]})

    def half(self, device, deadline):
        """The 16 bits that a device multiplies in, as `--precision` takes them; f32 where it has none."""
        choices = ["bf16", "f16"] if device["kind"] == "cuda" else ["f16"]
        for precision in choices:
            # The folder is empty: a device that opens says that there are no goldens, and ends.
            empty = self.work / "empty"
            empty.mkdir(exist_ok=True)
            command = self.program("check-parity", device["id"], precision, empty)
            try:
                with Process(command, self.environment) as process:
                    line = process.line(deadline)
                    found = json.loads(line[1]) if line else {}
                    if found.get("precision") == precision:
                        return precision
                    reason = found.get("warning") or process.complaint() or "it said nothing"
            except (Failed, Late, ValueError) as error:
                reason = str(error)
            self.found.setdefault("half", []).append("%s %s: %s" % (device["id"], precision, reason.strip(": ")))
        return "f32"

    def torch(self, entry, deadline):
        code = (
            "import torch; cuda = torch.cuda.is_available();"
            "print(torch.__version__, 'cuda' if cuda else 'cpu', torch.version.cuda, sep='|')"
        )
        try:
            version, device, cuda = output([self.python, "-c", code], deadline, label="PyTorch").split("|")
        except (Failed, Late, ValueError) as error:
            entry["torch"] = {"not_run": "%s" % error}
            return
        entry["torch"] = {"version": version, "device": device, "cuda": cuda}
        if device == "cuda" or self.small:
            self.torch_device = device
        else:
            entry["torch"]["not_run"] = "it has no CUDA device"

    def compile_torch(self):
        """Fills the caches of torch.compile while the tests run, so that the stack's time is for measuring."""
        caches = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
        self.environment.update({name: str(self.work / folder) for name, folder in caches.items()})
        facts = self.found["torch_compile"] = {}
        began = time.monotonic()
        try:
            stack.torch_side(self, self.files.wait("stack", self.last), "bf16-compile").rehearse(self, self.last)
        except (Failed, Late, OSError) as error:
            facts["failed"] = str(error)
        facts["seconds"] = time.monotonic() - began

    def tests(self, command, entry, deadline):
        """Lines of JSON, one for each test, as they come."""
        entry.update(passed=0, failures=[])
        with Process(command, self.environment, label=command[1]) as process:
            try:
                while True:
                    line = process.line(deadline)
                    if line is None:
                        break
                    if not line[1].startswith("{"):
                        continue
                    found = json.loads(line[1])
                    if "test" not in found:
                        entry.update(found)
                    elif found["passed"]:
                        entry["passed"] += 1
                        if "report" in found:
                            entry.setdefault("reports", []).append(found["report"].splitlines()[0])
                    else:
                        entry["failures"].append(found)
            finally:
                entry["left"] = entry.get("tests", 0) - entry["passed"] - len(entry["failures"])
            if process.end(deadline) != 0 and not entry["failures"]:
                raise Failed("exit status %s%s" % (process.child.returncode, process.complaint()))

    def kernels(self, words, entry, deadline):
        backend = self.backend(words[0])
        self.tests(self.program("check-kernels", backend.id), entry, deadline)

    def parity(self, words, entry, deadline):
        backend = self.backend(words[0])
        precision = "f32" if words[1] == "f32" else backend.half
        if words[1] != "f32" and precision == "f32":
            raise NotRun("%s has no products of 16 bits here" % backend.id)
        self.tests(self.program("check-parity", backend.id, precision, BUNDLE / "goldens"), entry, deadline)

    def stack(self, _, entry, deadline):
        if not self.backends:
            raise NotRun("; ".join(self.missing.values()))
        stack.run(self, entry, deadline)

    def painting(self, _, entry, deadline):
        if not self.backends:
            raise NotRun("; ".join(self.missing.values()))
        painting.run(self, entry, deadline)

    def prepare(self):
        """Begins what is done in the background, once it is known for whom."""
        if not self.backends:
            return
        self.files = Files(self, self.work, self.last)
        self.found["files"].update(made=self.files.facts)
        if self.torch_device:
            self.compiling = threading.Thread(target=self.compile_torch, daemon=True)
            self.compiling.start()

    def part(self, name, deadline):
        entry = {"part": name, "began": time.monotonic()}
        self.found["parts"].append(entry)
        first, *words = name.split()
        print("%s, at most %.0f s" % (name, deadline - time.monotonic()), flush=True)
        try:
            getattr(self, first)(words, entry, deadline)
        except NotRun as reason:
            entry["not_run"] = str(reason)
        except (Failed, Late) as error:
            entry["failed"] = str(error)
        except Exception as error:  # a mistake in one part must not cost the others
            entry["failed"] = "%s: %s" % (type(error).__name__, error)
            entry["traceback"] = traceback.format_exc().splitlines()[-8:]
        entry["seconds"] = round(time.monotonic() - entry.pop("began"), 2)
        self.save()
        said = entry.get("failed") or entry.get("not_run") or self.summary(entry)
        print("  %.1f s: %s" % (entry["seconds"], said), flush=True)

    @staticmethod
    def summary(entry):
        if "failures" in entry:
            return "%d passed, %d failed" % (entry["passed"], len(entry["failures"]))
        if "rows" in entry:
            return "%d of %d rows" % (sum("failed" not in row for row in entry["rows"]), len(entry["rows"]))
        return "done"

    def run(self):
        slower, deadline = self.sizes["slower"], self.began
        self.missing = {"vulkan": "x2i doctor failed", "cuda": "x2i doctor failed"}
        self.last = self.began + slower * sum(seconds for _, seconds in PARTS)
        self.save()
        for name, seconds in PARTS:
            deadline += slower * seconds
            self.part(name, deadline)
            if name == "doctor":
                self.prepare()
        self.found["complete"] = True
        self.save()


def stop(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path.cwd(), metavar="DIR")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    check = Check(arguments)
    status = 0
    try:
        check.run()
    except KeyboardInterrupt:
        check.found["cut"] = "by a signal"
        status = 130
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_all()
        if check.files:
            check.files.thread.join(5)
        check.save()
        if not arguments.keep:
            shutil.rmtree(check.work, ignore_errors=True)
    print("%s: %.0f s" % (check.out / "gpu-check.json", check.found["seconds"]))
    sys.exit(status)


if __name__ == "__main__":
    main()
