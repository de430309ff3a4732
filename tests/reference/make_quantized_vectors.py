"""Makes core/tests/weights/data/quantized/*.safetensors: layers as their quantizers store them, and the
floats that these libraries themselves make of them. No formula of any format is written down here.

What the libraries were: bitsandbytes 0.50.2, autoawq 0.2.9, compressed-tensors 0.20.0,
comfy-kitchen 0.2.40 (the layouts of ComfyUI), transformers 5.24.0, torch 2.15.0, on a CPU with AVX-512.

    nf4, nf4_odd, nf4_block128, nf4_nested, fp4, fp4_nested
                      bitsandbytes: `quantize_4bit`, `QuantState.as_dict(packed=True)`, `dequantize_4bit`
    llm_int8          bitsandbytes: the state of a `Linear8bitLt`, `int8_vectorwise_dequant`
    awq               AutoAWQ: `WQLinear_GEMM.from_linear`, `dequantize_gemm`
    int8_channel, int8_asymmetric, int8_group, int8_tensor
                      compressed-tensors: `IntQuantizationCompressor.compress` and `.decompress`
    packed4, packed4_zero, packed8, packed8_zero
                      the same of `PackedQuantizationCompressor`
    fp8_channel, fp8_static, fp8_ragged
                      the same of `FloatQuantizationCompressor`: rows, the tensor, blocks with smaller ends
    fp8_block         transformers: `Fp8Quantize`, `Fp8Dequantize`
    fp8_tensor, fp8_e5m2
                      ComfyUI's `TensorCoreFP8Layout`, with f32 as the type that is computed in: under
                      the names of its older files beside `scaled_fp8`, and with `comfy_quant`
    comfy_int8, comfy_int8_rows
                      ComfyUI's `TensorWiseINT8Layout`, the same, with `comfy_quant`

Each file has one FLUX layer under BFL's name `img_in`. `expected.safetensors` has the floats, its
tensors called like the files. The first numbers of four bits are exchanged for all sixteen. Rows of 40 or
192 numbers are chosen: in rows of 48, 96 or 112 the CPU kernel of this bitsandbytes takes magnitudes of
other blocks, by up to the largest weight (its torch code does not).

    pip install numpy torch bitsandbytes autoawq compressed-tensors comfy-kitchen transformers safetensors
    TORCHDYNAMO_DISABLE=1 python3 tests/reference/make_quantized_vectors.py [--out FOLDER]
"""

import argparse
import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import bitsandbytes
import torch
from bitsandbytes import functional as bnb
from comfy_kitchen.tensor import QuantizedTensor
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

OUT = Path(__file__).resolve().parents[2] / "core/tests/weights/data/quantized"
ROWS, COLUMNS = 24, 40


def weights(rows: int = ROWS, columns: int = COLUMNS, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Rows of many magnitudes, with a large number and a zero in each."""
    made = torch.randn(rows, columns) * 10 ** torch.empty(rows, 1).uniform_(-3, 0)
    made[:, 1] *= 5
    made[:, 2] = 0
    return made.to(dtype)


def note(value: dict) -> torch.Tensor:
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def four_bit(kind: str, shape: tuple[int, int], dtype: torch.dtype, block: int = 64, nested: bool = False):
    weight = weights(*shape, dtype)
    stored, state = bnb.quantize_4bit(weight, blocksize=block, compress_statistics=nested, quant_type=kind)
    stored[:8, 0] = torch.tensor([0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF], dtype=torch.uint8)
    values = bnb.dequantize_4bit(stored, state)
    tensors = {f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}
    return {"weight": stored, **tensors}, values


def llm_int8():
    layer = bitsandbytes.nn.Linear8bitLt(COLUMNS, ROWS, bias=False, has_fp16_weights=False)
    layer.load_state_dict({"weight": weights()})
    tensors = layer.to("cpu").state_dict()
    return tensors, bnb.int8_vectorwise_dequant(tensors["weight"], tensors["SCB"])


def awq_modules(*names: str) -> list[types.ModuleType]:
    """Modules of AutoAWQ without its packages, which import every model of an older transformers."""
    root = Path(importlib.util.find_spec("awq").submodule_search_locations[0])
    for package in ["awq", "awq.modules", "awq.modules.linear"]:
        shell = types.ModuleType(package)
        shell.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
        sys.modules[package] = shell
    return [importlib.import_module(name) for name in names]


def awq(out: int = 32, group: int = 32):
    weight = weights(out, 2 * group)
    groups = weight.reshape(out, -1, group)
    low, high = groups.amin(-1), groups.amax(-1)
    scales = (high - low) / 15
    zeros = (-low / scales).round().clamp(0, 15)
    linear = torch.nn.Linear(2 * group, out, bias=False)
    linear.weight.data = weight
    gemm, packing = awq_modules("awq.modules.linear.gemm", "awq.utils.packing_utils")
    made = gemm.WQLinear_GEMM.from_linear(
        linear, 4, group, scales=scales.T.contiguous(), zeros=zeros.T.contiguous())
    tensors = made.state_dict()
    values = packing.dequantize_gemm(tensors["qweight"], tensors["qzeros"], tensors["scales"], 4, group)
    return tensors, values.T


def compressed(method: str, weight: torch.Tensor, **settings):
    """By compressed-tensors: scales of the smallest and the largest number, then its compressor."""
    args = QuantizationArgs(**settings)
    tiles = {
        "tensor": lambda: weight.reshape(1, -1),
        "channel": lambda: weight[:, None],
        "group": lambda: weight.unflatten(1, (-1, args.group_size)),
        "block": lambda: blocks(weight, args.block_structure),
    }[args.strategy]()
    scale, zero = calculate_qparams(tiles.amin(-1), tiles.amax(-1), args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, format=method)
    compressor = BaseCompressor.get_value_from_registry(method)
    state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    tensors = compressor.compress(state, scheme)
    return tensors, compressor.decompress(tensors, scheme)["weight"]


def blocks(weight: torch.Tensor, sides: list[int]) -> torch.Tensor:
    """The numbers of each block, the last ones filled up with zeros."""
    down, across = sides
    missing = (0, -weight.shape[1] % across, 0, -weight.shape[0] % down)
    padded = torch.nn.functional.pad(weight, missing)
    tiles = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across)
    return tiles.transpose(1, 2).flatten(2)


def fp8_block(rows: int = 64, columns: int = 96, side: int = 32):
    config = types.SimpleNamespace(weight_block_size=(side, side), scale_fmt=None)
    quantizer = types.SimpleNamespace(quantization_config=config)
    tensors = Fp8Quantize(quantizer).convert({"weight": weights(rows, columns)})
    scale = next(name for name in tensors if name != "weight")
    tensors["weight_scale_inv"] = tensors.pop(scale)
    dequantize = Fp8Dequantize(quantizer).convert
    return tensors, dequantize({key: [value] for key, value in tensors.items()})["weight"]


def comfy(layout: str, format: dict | None, **settings):
    """By ComfyUI's layouts; without a format under the names of its older files."""
    made = QuantizedTensor.from_float(weights(), layout, **settings)
    tensors = made.state_dict("weight")
    one = torch.tensor(3.5)
    if format is None:
        tensors = {"weight": tensors["weight"], "scale_weight": tensors["weight_scale"], "scale_input": one}
    else:
        tensors |= {"input_scale": one, "comfy_quant": note(format)}
    return tensors, made.dequantize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(14)
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    integers, packed, floats = "int-quantized", "pack-quantized", "float-quantized"
    fp8, int8 = {"num_bits": 8, "type": "float"}, {"num_bits": 8}
    made = {
        "nf4": four_bit("nf4", (ROWS, COLUMNS), bf16),
        "nf4_odd": four_bit("nf4", (5, 13), f16),
        "nf4_block128": four_bit("nf4", (ROWS, COLUMNS), f32, block=128),
        "nf4_nested": four_bit("nf4", (96, 192), bf16, nested=True),
        "fp4": four_bit("fp4", (ROWS, COLUMNS), f32),
        "fp4_nested": four_bit("fp4", (ROWS, COLUMNS), f16, nested=True),
        "llm_int8": llm_int8(),
        "awq": awq(),
        "int8_channel": compressed(integers, weights(dtype=bf16), strategy="channel", **int8),
        "int8_asymmetric": compressed(integers, weights() + 0.3, strategy="channel", symmetric=False, **int8),
        "int8_group": compressed(integers, weights(dtype=f16), strategy="group", group_size=20, **int8),
        "int8_tensor": compressed(integers, weights(), strategy="tensor", **int8),
        "packed4": compressed(packed, weights(16, 36, bf16), num_bits=4, strategy="group", group_size=12),
        "packed4_zero": compressed(
            packed, weights(20, 64, bf16) + 0.3, num_bits=4, strategy="group", group_size=32, symmetric=False),
        "packed8": compressed(packed, weights(16, 42, f16), strategy="channel", **int8),
        "packed8_zero": compressed(packed, weights(18, 40) + 0.3, strategy="channel", symmetric=False, **int8),
        "fp8_channel": compressed(floats, weights(dtype=bf16), strategy="channel", **fp8),
        "fp8_static": compressed(floats, weights(dtype=bf16), strategy="tensor", **fp8),
        "fp8_ragged": compressed(
            floats, weights(130, 200, bf16), strategy="block", block_structure=[128, 128], **fp8),
        "fp8_block": fp8_block(),
        "fp8_tensor": comfy("TensorCoreFP8Layout", None),
        "fp8_e5m2": comfy(
            "TensorCoreFP8Layout", {"format": "float8_e5m2", "full_precision_matrix_mult": True},
            dtype=torch.float8_e5m2),
        "comfy_int8": comfy("TensorWiseINT8Layout", {"format": "int8_tensorwise"}),
        "comfy_int8_rows": comfy("TensorWiseINT8Layout", {"format": "int8_tensorwise"}, per_channel=True),
    }
    expected = {}
    for name, (tensors, values) in made.items():
        layer = {f"img_in.{key}": value.contiguous() for key, value in tensors.items()}
        if name == "fp8_tensor":
            layer["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
        save_file(layer, folder / f"{name}.safetensors")
        expected[name] = values.contiguous()
    save_file(expected, folder / "expected.safetensors")


main()
