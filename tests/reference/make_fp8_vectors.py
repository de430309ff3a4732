"""Makes core/tests/weights/data/fp8.safetensors: every float of 8 bits, and the f32 that ml_dtypes
makes of it. One pair of tensors each, `[16, 16]`:

    e4m3, e5m2          the bytes 0 to 255 as F8_E4M3 and F8_E5M2
    e4m3.f32, e5m2.f32  the numbers that they stand for

    pip install numpy ml_dtypes
    python3 tests/reference/make_fp8_vectors.py [--out FILE]
"""

import argparse
import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np

OUT = Path(__file__).resolve().parents[2] / "core/tests/weights/data/fp8.safetensors"
TYPES = {
    "e4m3": ("F8_E4M3", ml_dtypes.float8_e4m3fn),
    "e5m2": ("F8_E5M2", ml_dtypes.float8_e5m2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    header, data = {}, b""
    for name, (dtype, kind) in TYPES.items():
        widened = stored.view(kind).astype("<f4")
        for key, kind_name, values in [(name, dtype, stored), (f"{name}.f32", "F32", widened)]:
            begin, data = len(data), data + values.tobytes()
            header[key] = {"dtype": kind_name, "shape": [16, 16], "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    arguments.out.write_bytes(struct.pack("<Q", len(text)) + text + data)


main()
