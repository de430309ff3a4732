"""Checks that other programs read what `x2i convert` writes: with gguf-py, every tensor of every type.

The embedded model becomes f32 and then each type. Bytes of Q8_0 and Q4_0 must be what gguf-py makes
of the f32 values; values of Q4_K, which it only reads, must lie near them (that the bytes are ggml's
own is tested with core/tests/weights/data/ggml_blocks.gguf).

    pip install numpy gguf
    cargo build --release
    python3 tests/reference/check_converted.py [--x2i target/release/x2i] [--model core/models/emoji]
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Type

# Steps that a value of Q4_K may be off: the fit gives up some at the ends for the many between.
MOST_STEPS = 1.5
ROOT = Path(__file__).resolve().parents[2]


def tensors(folder: Path) -> dict[str, gguf.gguf_reader.ReaderTensor]:
    found = {}
    for file in sorted(folder.glob("*.gguf")):
        for tensor in gguf.GGUFReader(file).tensors:
            found[f"{file.stem}: {tensor.name}"] = tensor
    return found


def check(name: str, tensor, values: np.ndarray) -> float:
    """The largest difference in steps of the block: 0 where bytes are compared."""
    blocks = tensor.data
    if tensor.tensor_type != Type.Q4_K:
        expected = gguf.quants.quantize(values, tensor.tensor_type)
        if (blocks.view(np.uint8) != expected.view(np.uint8)).any():
            raise SystemExit(f"{name}: other bytes than gguf-py's {tensor.tensor_type.name}")
        return 0.0
    back = gguf.quants.dequantize(blocks, Type.Q4_K)
    # 15 steps cover a sub-block of 32 numbers and 0; its 6-bit scale is up to 1/63 of the largest off.
    subs = values.reshape(-1, 8, 32)
    steps = (np.maximum(subs.max(-1), 0) - np.minimum(subs.min(-1), 0)) / 15
    steps = np.maximum(steps, steps.max(-1, keepdims=True) / 63)
    off = np.abs(back.reshape(subs.shape) - subs).max(-1)
    return float((off / np.where(steps == 0, 1, steps)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--x2i", type=Path, default=ROOT / "target/release/x2i")
    parser.add_argument("--model", type=Path, default=ROOT / "core/models/emoji")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "f32"

        def convert(source: Path, target: Path, quantize: str) -> None:
            subprocess.run([arguments.x2i, "convert", source, target, "--quantize", quantize, "-q"], check=True)

        convert(arguments.model, whole, "f32")
        values = {name: tensor.data for name, tensor in tensors(whole).items()}
        for quantize in ("none", "f16", "q8_0", "q4_0", "q4_k"):
            made = Path(folder) / quantize
            convert(whole, made, quantize)
            found = tensors(made)
            if found.keys() != values.keys():
                raise SystemExit(f"{quantize}: other tensors than in the source")
            worst = max(check(name, tensor, values[name]) for name, tensor in found.items())
            kinds = sorted({tensor.tensor_type.name for tensor in found.values()})
            if worst > MOST_STEPS:
                raise SystemExit(f"{quantize}: {worst:.2f} steps off")
            print(f"{quantize}: {len(found)} tensors of {', '.join(kinds)}; at most {worst:.2f} steps off")


main()
