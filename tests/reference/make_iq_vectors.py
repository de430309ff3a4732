"""Makes two files from gguf-py's tables and its `quants.dequantize`:

    core/src/weights/quant/grids.bin          the code books of the IQ types (see quant/grid.rs)
    core/tests/weights/data/ggml_iq_blocks.gguf
        <type>      blocks of random bits with scales of usual sizes
        <type>.f32  what gguf-py reads from these blocks

    pip install numpy gguf
    python3 tests/reference/make_iq_vectors.py
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

ROOT = Path(__file__).resolve().parents[2]
GRIDS = ROOT / "core/src/weights/quant/grids.bin"
BLOCKS = ROOT / "core/tests/weights/data/ggml_iq_blocks.gguf"
# Where the f16 of a block is; IQ1_M scatters its bits, MXFP4 has another scale.
SCALE_AT = {
    Type.IQ2_XXS: 0, Type.IQ2_XS: 0, Type.IQ2_S: 0, Type.IQ3_XXS: 0, Type.IQ3_S: 0, Type.IQ1_S: 0,
    Type.IQ1_M: None, Type.IQ4_NL: 0, Type.IQ4_XS: 0, Type.TQ1_0: 52, Type.TQ2_0: 64,
    Type.MXFP4: None,
}
BOOKS = [quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ3_XXS, quants.IQ3_S, quants.IQ1_S]
VALUES = 256 * 6


def write_grids() -> None:
    packed = b""
    for book in BOOKS:
        book.init_grid()
        entries = np.asarray(book.grid, dtype=np.float32).reshape(book.grid_shape)
        indexes = np.searchsorted(np.array(book.grid_map, dtype=np.float32), entries).astype(np.uint16)
        bits = 2 if len(book.grid_map) == 3 else 3
        shifts = (bits * np.arange(entries.shape[1])).astype(np.uint16)
        packed += np.bitwise_or.reduce(indexes << shifts, axis=1).astype("<u2").tobytes()
    signs = np.frombuffer(quants.IQ2_XXS.ksigns, dtype=np.uint8)
    seven = np.arange(128)
    parity = np.array([bin(i).count("1") % 2 for i in seven])
    if (signs != (seven | parity << 7)).any():
        raise SystemExit("the signs are no longer those of even parity")
    GRIDS.write_bytes(packed)


def blocks(kind: Type, random: np.random.Generator) -> np.ndarray:
    length, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (VALUES // length, size), dtype=np.uint8)
    scales = (10 ** random.uniform(-5, 1, len(blocks)) * random.choice([-1, 1], len(blocks))).astype("<f2")
    scales[0] = 0
    at = SCALE_AT[kind]
    if at is not None:
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    elif kind == Type.IQ1_M:
        bits = scales.view(np.uint16)
        for word in range(4):
            blocks[:, 49 + 2 * word] = (blocks[:, 49 + 2 * word] & 0x0F) | ((bits >> (4 * word) & 15) << 4)
    else:
        blocks[:, 0] = random.integers(100, 140, len(blocks))
        blocks[:5, 0] = [0, 1, 2, 254, 3]
    return blocks


def main() -> None:
    write_grids()
    random = np.random.default_rng(11)
    writer = gguf.GGUFWriter(BLOCKS, arch="test")
    for kind in SCALE_AT:
        stored = blocks(kind, random)
        rows = stored.reshape(2, -1)
        writer.add_tensor(kind.name, rows, raw_dtype=kind)
        with np.errstate(all="ignore"):
            values = quants.dequantize(rows, kind).astype(np.float32)
        writer.add_tensor(f"{kind.name}.f32", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
