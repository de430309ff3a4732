"""Packs the bundle: the program, its libraries, the goldens and the scripts."""

import io
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ARCHIVE = ROOT / "target/gpu-check.tar.xz"
MOST = 60 << 20
PROGRAM = "x2i-gpu-check"
TARGETS = ["--features", "x2i-gpu-check/bundle", "--bin", PROGRAM]
SCRIPTS = ["run.py", "machine.py", "process.py", "files.py", "stack.py", "painting.py", "torch_stack.py"]
# Those that other goldens need, or that say most about a GPU, come first; the last ones stay out of a full bundle.
GOLDENS = [
    "flux_dev_tiny",
    "flux_schnell_tiny",
    "first_block_cache",
    "vae_tiny",
    "_tokenizer_qwen2_5",
    "pipeline_tiny",
    "alignnet",
    "alignnet_real_dims",
    "qwen2_5_vl_tiny",
    "internvl2_5_tiny",
    "scheduler",
    "torch_randn",
    "prompt_strings",
    "tokenizer_qwen_real",
    "lightcontrol_tiny",
    "minicpm_o_tiny",
]
# What a container with NVIDIA's driver may lack: the Vulkan loader, and what the driver's library is linked with.
LIBRARIES = "libvulkan.so.1 libX11.so.6 libXext.so.6 libxcb.so.1 libXau.so.6 libXdmcp.so.6 libbsd.so.0 libmd.so.0".split()
LIBRARY_FOLDERS = [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib64")]


def build(folder, cuda):
    """The program in `folder`, with all that it is linked with where it has CUDA."""
    if cuda:
        script = ROOT / "scripts/build-cuda"
        if not script.exists():
            sys.exit("error: there is no scripts/build-cuda; give --without-cuda")
        environment = dict(os.environ, X2I_CUDA_FOLDER=str(folder))
        subprocess.run([script, *TARGETS], cwd=ROOT, env=environment, check=True)
    else:
        subprocess.run(["cargo", "build", "--release", *TARGETS], cwd=ROOT, check=True)
        metadata = subprocess.run(
            ["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        built = Path(json.loads(metadata.stdout)["target_directory"]) / "release" / PROGRAM
        shutil.copy2(built, folder / PROGRAM)
        subprocess.run(["strip", folder / PROGRAM], check=True)


def copy_libraries(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in LIBRARIES:
        found = [path / name for path in LIBRARY_FOLDERS if (path / name).exists()]
        if found:
            shutil.copy2(found[0], folder / name, follow_symlinks=True)
        else:
            print("gpu-check: this machine has no %s; a machine without it will have no Vulkan" % name, file=sys.stderr)


def piece(paths):
    """A part of a tar file, packed; packed parts one after the other are the whole, packed."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, name in paths:
            tar.add(path, name, filter=anonymous)
        end = tar.offset  # behind it are the zeros that end a tar file
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    return lzma.compress(raw.getvalue()[:end], filters=filters)


def anonymous(info):
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def commit():
    def git(*words):
        done = subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (" and changes" if git("status", "--porcelain", "-uno") else "")


def pack(cuda):
    folder = ROOT / "target/gpu-check"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    build(folder, cuda)
    copy_libraries(folder / "lib/vulkan")
    for name in SCRIPTS:
        shutil.copy2(Path(__file__).parent / name, folder / name)
    shutil.copy2(ROOT / "tests/reference/serve.py", folder / "serve.py")
    goldens = ROOT / "tests/goldens"
    missing = sorted(path.name for path in goldens.iterdir() if path.is_dir() and path.name not in GOLDENS)
    if missing:
        sys.exit("error: scripts/gpu_check/pack.py does not know the goldens %s" % ", ".join(missing))
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        program = threads.submit(piece, [(path, "gpu-check/" + path.name) for path in sorted(folder.iterdir())])
        packed = list(threads.map(lambda name: piece([(goldens / name, "gpu-check/goldens/" + name)]), GOLDENS))
        packed_program = program.result()
    left = MOST - len(packed_program) - (1 << 16)
    kept, left_out = [], []
    for name, data in zip(GOLDENS, packed):
        if len(data) <= left:
            left -= len(data)
            kept.append(data)
            shutil.copytree(goldens / name, folder / "goldens" / name)
        else:
            left_out.append(name)
    facts = {"version": version, "commit": commit(), "cuda": cuda, "goldens_left_out": left_out}
    (folder / "bundle.json").write_text(json.dumps(facts, indent=1) + "\n")
    facts_piece = piece([(folder / "bundle.json", "gpu-check/bundle.json")])
    end = lzma.compress(bytes(2 * tarfile.BLOCKSIZE))
    ARCHIVE.write_bytes(b"".join([packed_program, *kept, facts_piece, end]))
    size = ARCHIVE.stat().st_size
    print("%s: %.1f MiB%s" % (ARCHIVE, size / (1 << 20), ", without %s" % ", ".join(left_out) if left_out else ""))
    if size > MOST:
        sys.exit("error: a bundle has at most 60 MiB")
