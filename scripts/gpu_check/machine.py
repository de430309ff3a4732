"""What the machine has: its GPU, its Vulkan, and a place for large files."""

import ctypes
import glob
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# Where NVIDIA's driver describes itself to the Vulkan loader.
ICD_FOLDERS = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"]
# The driver's library that has Vulkan; the second one needs no X libraries.
NVIDIA_VULKAN = ["libGLX_nvidia.so.0", "libEGL_nvidia.so.0"]
LIBRARY_FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"]


def smi(fields):
    """nvidia-smi's answers for the first GPU; None where there is none."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--id=0", "--format=csv,noheader,nounits", "--query-gpu=" + ",".join(fields)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    answers = [answer.strip() for answer in done.stdout.strip().split(",")]
    return dict(zip(fields, answers)) if done.returncode == 0 and len(answers) == len(fields) else None


class Memory(ctypes.Structure):
    """NVML's nvmlMemory_t."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def gpu_memory():
    """NVML's account of the first GPU's memory: nvidia-smi takes up to a second to tell. None without a driver."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        device, memory = ctypes.c_void_p(), Memory()
        for call in (
            lambda: nvml.nvmlInit_v2(),
            lambda: nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)),
            lambda: nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)),
        ):
            if call() != 0:
                return None
        return memory
    except (OSError, AttributeError):
        return None


def used_memory():
    memory = gpu_memory()
    return None if memory is None else memory.used


class Watch:
    """The most memory of the GPU that was in use while it watched, beyond what was in use before."""

    def __init__(self):
        self.before = used_memory()
        self.most = self.before
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self.over.wait(0.02):
            found = used_memory()
            if found is not None:
                self.most = max(self.most, found)

    def __enter__(self):
        if self.before is not None:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        if self.before is not None:
            self.thread.join(12)

    def peak(self):
        return None if self.before is None else self.most - self.before


def loads(library, environment):
    """Whether the loader finds a library and all that it needs, in a process with this environment."""
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    command = [sys.executable, "-c", code, library]
    try:
        done = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def driver_libraries():
    """NVIDIA's libraries that have Vulkan, as names or full paths."""
    for name in NVIDIA_VULKAN:
        found = [path for folder in LIBRARY_FOLDERS for path in sorted(glob.glob("%s/%s*" % (folder, name)))]
        if found:
            yield name, found[0]


def vulkan_environment(bundle, work):
    """The environment in which programs find Vulkan, and what was done for it, in words.

    A bare container often lacks the loader, the libraries of X that NVIDIA's driver needs, or the file that
    tells the loader of that driver. The bundle has the first two, and this writes the third.
    """
    environment, done = dict(os.environ), []
    environment.setdefault("NODEVICE_SELECT", "1")
    own = bundle / "lib" / "vulkan"
    needed = [path for path in sorted(own.glob("*.so*")) if not loads(path.name, environment)]
    if needed:
        # Two ways to them: a program with a loader of its own looks into lib, others into this folder.
        folder = work / "lib"
        folder.mkdir(exist_ok=True)
        for path in needed:
            for place in (folder, bundle / "lib"):
                try:
                    shutil.copy2(path, place / path.name)
                except OSError:
                    pass  # a bundle that can't be written to
        before = environment.get("LD_LIBRARY_PATH", "")
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, [before, str(folder)]))
        done.append("took %s from the bundle" % ", ".join(path.name for path in needed))
    chosen = [name for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES") if name in os.environ]
    described = [path for folder in ICD_FOLDERS for path in glob.glob(folder + "/*nvidia*.json")]
    if chosen or described:
        return environment, done
    for name, path in driver_libraries():
        for library in (name, path):
            if loads(library, environment):
                icd = {"file_format_version": "1.0.0", "ICD": {"library_path": library, "api_version": "1.3.0"}}
                file = work / "nvidia_icd.json"
                file.write_text(json.dumps(icd))
                environment["VK_ICD_FILENAMES"] = environment["VK_DRIVER_FILES"] = str(file)
                done.append("told the loader of %s" % library)
                return environment, done
        done.append("%s is there and does not load" % path)
    if shutil.which("nvidia-smi"):
        done.append(
            "the driver's Vulkan library is not there; a container gets it with NVIDIA_DRIVER_CAPABILITIES=all"
        )
    return environment, done


def place_for_files(wanted, other):
    """A folder for `wanted` bytes: in memory where that is plentiful, else the temporary one, or one with more room."""
    shared, temporary = Path("/dev/shm"), Path(tempfile.gettempdir())
    try:
        if shutil.disk_usage(shared).free > wanted and available_memory() > 2.5 * wanted:
            return shared
    except OSError:
        pass  # no such folder
    free = {folder: shutil.disk_usage(folder).free for folder in (temporary, other)}
    return other if free[temporary] < wanted and free[other] > free[temporary] else temporary


def available_memory():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def facts():
    """The facts that the numbers depend on."""
    gpu = smi(["name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "compute_cap"])
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "gpu": gpu,
        "cpu": names[0].split(":", 1)[1].strip() if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "glibc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
