"""Makes the embedded model in types that x2i reads but does not write: a model folder of each in OUT.

The same matrices are quantized that `x2i convert --quantize q8_0` stores in blocks, token embeddings too,
from their values in f32; all other tensors are those of that conversion. The quantizers are the libraries' own:

    iq4_nl, iq4_xs, mxfp4   ggml's (`quantize_*`), GGUF. Rows that 256 does not divide take IQ4_NL
                            instead of IQ4_XS, as in llama.cpp
    fp8                     torch's conversion to float8_e4m3fn, safetensors
    fp8_scaled              ComfyUI's `TensorCoreFP8Layout` (comfy-kitchen): a scale a tensor
    nf4                     bitsandbytes: blocks of 64, nested
    llm_int8                bitsandbytes: a scale a row
    int4                    compressed-tensors' `pack-quantized`: groups of 64 with zeros, rounded to
                            nearest. AWQ stores the same numbers in another order, after calibration

    pip install numpy gguf torch safetensors bitsandbytes compressed-tensors comfy-kitchen
    python3 tests/reference/make_other_types.py --ggml PATH/TO/ggml --binary x2i --out OUT [TYPE...]
    x2i bench quality --model core/models/emoji --compare OUT/iq4_nl --compare OUT/fp8 ...
"""

import argparse
import ctypes
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from safetensors.torch import save_file

import make_ggml_vectors

MODEL = Path(__file__).resolve().parents[2] / "core/models/emoji"
PARTS = ("encoder", "align_net", "flux", "vae")
GGML = {"iq4_nl": Type.IQ4_NL, "iq4_xs": Type.IQ4_XS, "mxfp4": Type.MXFP4}


class Part:
    """A GGUF file of the model as Q8_0, and the values of its matrices in f32."""

    def __init__(self, blocks: Path, exact: Path):
        reader = gguf.GGUFReader(blocks)
        self.architecture = reader.fields["general.architecture"].contents()
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.exact = {tensor.name: shaped(tensor) for tensor in gguf.GGUFReader(exact).tensors}

    def matrices(self) -> dict[str, np.ndarray]:
        names = [name for name, tensor in self.tensors.items() if tensor.tensor_type == Type.Q8_0]
        return {name: self.exact[name].astype(np.float32) for name in names}

    def others(self) -> dict[str, np.ndarray]:
        quantized = self.matrices()
        return {name: shaped(tensor) for name, tensor in self.tensors.items() if name not in quantized}


def shaped(tensor: gguf.ReaderTensor) -> np.ndarray:
    if tensor.tensor_type not in (Type.F32, Type.F16):
        return tensor.data
    return tensor.data.reshape([int(size) for size in reversed(tensor.shape)]).copy()


# ---- ggml ----------------------------------------------------------------------------------------


def blocks_of(library: ctypes.CDLL, values: np.ndarray, kind: Type) -> tuple[np.ndarray, Type]:
    rows, columns = values.shape
    if columns % GGML_QUANT_SIZES[kind][0]:
        kind = Type.IQ4_NL
    if kind == Type.MXFP4:  # what llama-quantize calls is the reference
        return make_ggml_vectors.quantized(library, "mxfp4", np.ascontiguousarray(values), kind), kind
    block, size = GGML_QUANT_SIZES[kind]
    out = np.zeros((rows, columns // block * size), dtype=np.uint8)
    quantize = getattr(library, f"quantize_{kind.name.lower()}")
    quantize.restype = ctypes.c_size_t
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (np.ascontiguousarray(values), out)]
    written = quantize(*pointers, ctypes.c_int64(rows), ctypes.c_int64(columns), None)
    assert written == out.size, f"{kind.name}: {written} bytes of {out.size}"
    return out, kind


def write_gguf(library: ctypes.CDLL, part: Part, kind: Type, path: Path) -> None:
    writer = gguf.GGUFWriter(path, arch=part.architecture)
    for name, values in part.matrices().items():
        blocks, stored = blocks_of(library, values, kind)
        writer.add_tensor(name, blocks, raw_dtype=stored)
    for name, values in part.others().items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- safetensors ---------------------------------------------------------------------------------


def fp8(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"weight": weight.to(torch.float8_e4m3fn)}


def fp8_scaled(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    from comfy_kitchen.tensor import QuantizedTensor

    note = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    return QuantizedTensor.from_float(weight, "TensorCoreFP8Layout").state_dict("weight") | {"comfy_quant": note}


def nf4(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    from bitsandbytes import functional

    stored, state = functional.quantize_4bit(weight.bfloat16(), blocksize=64, compress_statistics=True, quant_type="nf4")
    return {"weight": stored} | {f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}


def llm_int8(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    from bitsandbytes import functional

    stored, scales, _ = functional.int8_vectorwise_quant(weight.half())
    return {"weight": stored, "SCB": scales, "weight_format": torch.tensor(0, dtype=torch.uint8)}


def int4(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    args = QuantizationArgs(num_bits=4, strategy="group", group_size=64, symmetric=False)
    weight = weight.bfloat16()
    groups = weight.unflatten(1, (-1, args.group_size))
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, format="pack-quantized")
    state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
    return BaseCompressor.get_value_from_registry("pack-quantized").compress(state, scheme)


SAFETENSORS = {"fp8": fp8, "fp8_scaled": fp8_scaled, "nf4": nf4, "llm_int8": llm_int8, "int4": int4}


def write_safetensors(part: Part, quantize, path: Path) -> None:
    tensors = {name: torch.from_numpy(values) for name, values in part.others().items()}
    for name, values in part.matrices().items():
        layer, _, leaf = name.rpartition(".")
        assert leaf == "weight", f"{name}: a layer's companions are named after its weight"
        made = quantize(torch.from_numpy(values))
        tensors |= {f"{layer}.{key}": tensor.contiguous() for key, tensor in made.items()}
    save_file(tensors, path)


# ---- folders -------------------------------------------------------------------------------------


def write_folder(name: str, parts: dict[str, Part], library: ctypes.CDLL, source: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model = json.loads((source / "model.json").read_text())
    for part, tensors in parts.items():
        file = f"{part}.gguf" if name in GGML else f"{part}.safetensors"
        model[part]["weights"] = [file]
        if name in GGML:
            write_gguf(library, tensors, GGML[name], out / file)
        else:
            write_safetensors(tensors, SAFETENSORS[name], out / file)
    (out / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    files = sorted(file for file in out.iterdir() if file.name != "model.json")
    model["files"] = {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in files
    }
    (out / "model.json").write_text(json.dumps(model, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", type=Path, required=True, help="a ggml source tree (include/, src/)")
    parser.add_argument("--binary", required=True, help="the x2i binary")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("types", nargs="*", default=[*GGML, *SAFETENSORS])
    arguments = parser.parse_args()
    library = make_ggml_vectors.ggml(arguments.ggml)
    with tempfile.TemporaryDirectory() as folder:
        folders = {stored: Path(folder) / stored for stored in ("f32", "q8_0")}
        for stored, path in folders.items():
            command = [arguments.binary, "convert", str(MODEL), str(path), "--quantize", stored, "--quiet"]
            subprocess.run(command, check=True)
        parts = {part: Part(*(folders[stored] / f"{part}.gguf" for stored in ("q8_0", "f32"))) for part in PARTS}
        for name in arguments.types:
            write_folder(name, parts, library, folders["q8_0"], arguments.out / name)


main()
