"""Makes core/tests/weights/data/ggml_blocks.gguf: what ggml itself makes of awkward numbers.

Bytes come from ggml's C reference quantizers (`quantize_row_*_ref`), compiled from a source tree
without fused multiply-add; the numbers that a reader must give back come from gguf-py, and where
gguf-py quantizes too its bytes must be the same. One tensor each:

    values      [rows, 256] f32
    <type>      the blocks that ggml makes of `values`
    <type>.f32  what gguf-py reads from these blocks

    pip install numpy gguf
    python3 tests/reference/make_ggml_vectors.py --ggml PATH/TO/ggml [--out FILE]
"""

import argparse
import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

OUT = Path(__file__).resolve().parents[2] / "core/tests/weights/data/ggml_blocks.gguf"
TYPES = {
    Type.Q8_0: "q8_0", Type.Q4_0: "q4_0", Type.Q4_1: "q4_1", Type.Q5_0: "q5_0", Type.Q5_1: "q5_1",
    Type.Q2_K: "q2_K", Type.Q3_K: "q3_K", Type.Q4_K: "q4_K", Type.Q5_K: "q5_K", Type.Q6_K: "q6_K",
}


def values() -> np.ndarray:
    """Rows of 256: a layer's weights, many magnitudes, blocks of one number, and f16's limits."""
    random = np.random.default_rng(4)
    weights = random.normal(0, 0.02, 256)
    weights[7], weights[200] = 0.9, -1.3
    magnitudes = random.normal(0, 1, 256) * 10 ** random.uniform(-6, 3, 256)
    one_sided = np.concatenate([
        np.zeros(32), np.full(32, 0.5), np.full(32, -0.37),
        random.uniform(0.5, 2, 32), random.uniform(-2, -0.5, 32),
        np.tile([1.0, -1.0], 16), np.eye(1, 32, 5)[0] * -3.0, np.arange(32) / 31.0,
    ])
    limits = np.concatenate([
        random.uniform(-6e4, 6e4, 32), random.normal(0, 1e-7, 32), random.normal(0, 1e-30, 32),
        random.uniform(-1, 1, 32) * 65504, np.full(32, 65504.0), np.full(32, -6.1e-5),
        np.tile([0.0, 1e-3], 16), random.normal(0, 30, 32),
    ])
    tiny = random.normal(0, 3e-6, 256)  # all scales are f16's subnormals
    return np.stack([weights, magnitudes, one_sided, limits, tiny]).astype(np.float32)


def ggml(source: Path) -> ctypes.CDLL:
    """ggml's quantizers as a library; what they never call stays unresolved."""
    library = Path(tempfile.mkdtemp()) / "ggml_quants.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-DNDEBUG", "-ffp-contract=off", "-Wl,-z,lazy",
         f"-I{source}/include", f"-I{source}/src", str(source / "src/ggml-quants.c"), "-o", str(library)],
        check=True,
    )
    return ctypes.CDLL(str(library), mode=os.RTLD_LAZY)


def quantized(library: ctypes.CDLL, name: str, rows: np.ndarray, kind: Type) -> np.ndarray:
    block, size = GGML_QUANT_SIZES[kind]
    out = np.zeros((rows.shape[0], rows.shape[1] // block * size), dtype=np.uint8)
    quantize = getattr(library, f"quantize_row_{name}_ref")
    quantize(
        rows.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(rows.size),
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", type=Path, required=True, help="a ggml source tree (include/, src/)")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    library = ggml(arguments.ggml)
    rows = values()
    writer = gguf.GGUFWriter(arguments.out, arch="test")
    writer.add_tensor("values", rows)
    for kind, name in TYPES.items():
        blocks = quantized(library, name, rows, kind)
        try:
            own = gguf.quants.quantize(rows, kind)
        except NotImplementedError:
            own = None
        if own is not None and (own != blocks).any():
            raise SystemExit(f"{name}: gguf-py and ggml make different bytes")
        writer.add_tensor(name, blocks, raw_dtype=kind)
        writer.add_tensor(f"{name}.f32", gguf.quants.dequantize(blocks, kind).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
