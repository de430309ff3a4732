"""Makes core/tests/weights/data/quantized/*.safetensors: layers as quantizers store them, and the
floats that their libraries make of them.

Every formula is written down again here from its library's source, with numpy, in the library's
order of operations and with its roundings; what is quantized is random numbers. Formats:

    nf4, fp4          bitsandbytes `dequantize_4bit`: code[number] * absmax in f32, then the dtype of
                      the state; the higher half of a byte comes first
    nf4_nested        the same with `dequantize_blockwise` of absmax: code[number] * absmax + offset
    llm_int8          bitsandbytes `int8_vectorwise_dequant`: number * SCB * 0.007874015718698502
    awq               AutoAWQ `dequantize_gemm`: (number - zero) * scale in f16, transposed
    int8_channel      compressed-tensors `_dequantize`: number * scale in the scale's type, here bf16
    int8_asymmetric   the same, (number - zero) * scale, f32
    packed4, packed8  compressed-tensors `pack-quantized`, groups, scales in bf16; packed4_zero with zeros
    fp8_tensor        ComfyUI's scaled FP8: number * scale_weight, f32, beside `scaled_fp8`
    fp8_e5m2          ComfyUI's newer `weight_scale` with `comfy_quant`
    fp8_channel       compressed-tensors' float-quantized: number * scale [out, 1], bf16
    fp8_block         transformers' fine-grained FP8: blocks of 128 x 128, ends smaller

Each file has one FLUX layer under BFL's name `img_in`. `expected.safetensors` has the floats as f32,
its tensors called like the files.

    pip install numpy ml_dtypes
    python3 tests/reference/make_quantized_vectors.py [--out FOLDER]
"""

import argparse
import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np

OUT = Path(__file__).resolve().parents[2] / "core/tests/weights/data/quantized"
DTYPES = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "int8": "I8", "uint8": "U8", "int32": "I32", "int64": "I64",
}
BF16 = ml_dtypes.bfloat16

# QLoRA's code (Dettmers et al. 2023), and FP4's: signs, then 0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4.
NF4 = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
], np.float32)
FP4 = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3], np.float32) / np.float32(12)
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    header, data = {}, b""
    for name, values in tensors.items():
        begin, data = len(data), data + values.tobytes()
        header[name] = {
            "dtype": DTYPES[values.dtype.name], "shape": list(values.shape), "data_offsets": [begin, len(data)],
        }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def note(value: dict) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def four_bit(random, kind: str, shape, block: int, dtype: str, nested: bool):
    """Numbers are drawn rather than chosen for a weight: every one of them occurs."""
    code = {"nf4": NF4, "fp4": FP4}[kind]
    count = shape[0] * shape[1]
    numbers = random.integers(0, 16, count + count % 2).astype(np.uint8)
    blocks = -(-count // block)
    state = {"quant_type": kind, "blocksize": block, "dtype": dtype, "shape": list(shape)}
    tensors = {"weight": (numbers[::2] << 4 | numbers[1::2]).reshape(-1, 1)}
    if nested:
        outer = -(-blocks // 256)
        code2 = np.sort(random.uniform(-1, 1, 256)).astype(np.float32)
        absmax2 = random.uniform(0.01, 0.1, outer).astype(np.float32)
        offset = np.float32(0.04321)
        stored = random.integers(0, 256, blocks).astype(np.uint8)
        absmax = code2[stored] * np.repeat(absmax2, 256)[:blocks] + offset
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": float(offset)}
        tensors |= {"weight.absmax": stored, "weight.nested_absmax": absmax2, "weight.nested_quant_map": code2}
    else:
        absmax = random.uniform(0.01, 0.1, blocks).astype(np.float32)
        tensors["weight.absmax"] = absmax
    tensors |= {"weight.quant_map": code, f"weight.quant_state.bitsandbytes__{kind}": note(state)}
    values = code[numbers[:count]] * np.repeat(absmax, block)[:count]
    rounded = values.astype({"bfloat16": BF16, "float16": np.float16, "float32": np.float32}[dtype])
    return tensors, rounded.reshape(shape)


def llm_int8(random):
    weight = random.integers(-127, 128, (24, 40)).astype(np.int8)
    scb = random.uniform(0.01, 3, 24).astype(np.float32)
    values = weight.astype(np.float32) * scb[:, None] * np.float32(0.007874015718698502)
    return {"weight": weight, "SCB": scb, "weight_format": np.array(0, np.uint8)}, values


def awq_pack(numbers: np.ndarray) -> np.ndarray:
    packed = np.zeros((numbers.shape[0], numbers.shape[1] // 8), np.uint32)
    for place, column in enumerate(AWQ_ORDER):
        packed |= numbers[:, column::8].astype(np.uint32) << np.uint32(4 * place)
    return packed.view(np.int32)


def awq(random, inputs=64, out=24, group=32):
    numbers = random.integers(0, 16, (inputs, out))
    zeros = random.integers(0, 16, (inputs // group, out))
    scales = random.uniform(0.001, 0.05, (inputs // group, out)).astype(np.float16)
    whole = (numbers - np.repeat(zeros, group, 0)).astype(np.float16)
    values = whole * np.repeat(scales, group, 0)
    return {"qweight": awq_pack(numbers), "qzeros": awq_pack(zeros), "scales": scales}, values.T


def int8_channel(random):
    weight = random.integers(-128, 128, (24, 40)).astype(np.int8)
    scale = random.uniform(0.0001, 0.02, (24, 1)).astype(BF16)
    return {"weight": weight, "weight_scale": scale}, weight.astype(BF16) * scale


def int8_asymmetric(random):
    weight = random.integers(-128, 128, (24, 40)).astype(np.int8)
    zero = random.integers(-20, 20, (24, 1)).astype(np.int8)
    scale = random.uniform(0.0001, 0.02, (24, 1)).astype(np.float32)
    values = (weight.astype(np.float32) - zero.astype(np.float32)) * scale
    return {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}, values


def pack_int32(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Along the last axis, what is missing in the last word as zeros of the signed numbers."""
    per_word, half = 32 // bits, 1 << (bits - 1)
    missing = -numbers.shape[1] % per_word
    unsigned = np.pad(numbers + half, ((0, 0), (0, missing))).astype(np.uint32)
    packed = np.zeros((numbers.shape[0], unsigned.shape[1] // per_word), np.uint32)
    for place in range(per_word):
        packed |= unsigned[:, place::per_word] << np.uint32(bits * place)
    return packed.view(np.int32)


def packed(random, bits: int, inputs: int, group: int, zeros: bool):
    out, half = 16, 1 << (bits - 1)
    groups = inputs // group
    numbers = random.integers(-half, half, (out, inputs))
    scale = random.uniform(0.001, 0.05, (out, groups)).astype(BF16)
    tensors = {
        "weight_packed": pack_int32(numbers, bits), "weight_scale": scale,
        "weight_shape": np.array([out, inputs], np.int64),
    }
    whole = numbers.astype(BF16)
    if zeros:
        zero = random.integers(-half, half, (out, groups))
        # Packed along the rows: transposed there and back.
        tensors["weight_zero_point"] = np.ascontiguousarray(pack_int32(zero.T, bits).T)
        whole = whole - np.repeat(zero, group, 1).astype(BF16)
    return tensors, whole * np.repeat(scale, group, 1)


def fp8(random, shape, kind) -> np.ndarray:
    return (random.normal(0, 60, shape)).astype(np.float32).astype(kind)


def fp8_tensor(random):
    weight, scale = fp8(random, (24, 40), ml_dtypes.float8_e4m3fn), np.array(0.00123, np.float32)
    tensors = {"weight": weight, "scale_weight": scale, "scale_input": np.array(3.5, np.float32)}
    return tensors, weight.astype(np.float32) * scale


def fp8_e5m2(random):
    weight, scale = fp8(random, (24, 40), ml_dtypes.float8_e5m2), np.array(0.0321, np.float32)
    tensors = {
        "weight": weight, "weight_scale": scale, "input_scale": np.array(3.5, np.float32),
        "comfy_quant": note({"format": "float8_e5m2", "full_precision_matrix_mult": True}),
    }
    return tensors, weight.astype(np.float32) * scale


def fp8_channel(random):
    weight = fp8(random, (24, 40), ml_dtypes.float8_e4m3fn)
    scale = random.uniform(0.0001, 0.02, (24, 1)).astype(BF16)
    return {"weight": weight, "weight_scale": scale}, weight.astype(BF16) * scale


def fp8_block(random):
    weight = fp8(random, (130, 200), ml_dtypes.float8_e4m3fn)
    scale = random.uniform(0.0001, 0.02, (2, 2)).astype(np.float32)
    tiled = np.repeat(np.repeat(scale, 128, 0), 128, 1)[:130, :200]
    return {"weight": weight, "weight_scale_inv": scale}, weight.astype(np.float32) * tiled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(14)
    made = {
        "nf4": four_bit(random, "nf4", (24, 40), 64, "bfloat16", False),
        "nf4_odd": four_bit(random, "nf4", (5, 13), 64, "float16", False),
        "fp4": four_bit(random, "fp4", (24, 40), 64, "float32", False),
        "nf4_nested": four_bit(random, "nf4", (96, 192), 64, "bfloat16", True),
        "llm_int8": llm_int8(random),
        "awq": awq(random),
        "int8_channel": int8_channel(random),
        "int8_asymmetric": int8_asymmetric(random),
        "packed4": packed(random, 4, 36, 12, False),
        "packed4_zero": packed(random, 4, 64, 32, True),
        "packed8": packed(random, 8, 40, 20, False),
        "fp8_tensor": fp8_tensor(random),
        "fp8_e5m2": fp8_e5m2(random),
        "fp8_channel": fp8_channel(random),
        "fp8_block": fp8_block(random),
    }
    expected = {}
    for name, (tensors, values) in made.items():
        layer = {f"img_in.{key}": np.ascontiguousarray(value) for key, value in tensors.items()}
        if name == "fp8_tensor":
            layer["scaled_fp8"] = np.zeros(2, ml_dtypes.float8_e4m3fn)
        save(folder / f"{name}.safetensors", layer)
        expected[name] = np.ascontiguousarray(values).astype(np.float32)
    save(folder / "expected.safetensors", expected)


main()
