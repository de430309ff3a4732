"""Gives back what the shipped GGUF files were made of, for stages that build on it without training it again.

    python restore.py --model .. --work WORK

writes WORK/text.pt, the text model's tensors under the names of stage 3. Eight-bit weights come back as float32 numbers
of eight bits' precision.
"""

import argparse
from pathlib import Path

import torch


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a GGUF file, dequantized."""
    from gguf import GGUFReader, dequantize

    tensors = {}
    for tensor in GGUFReader(path).tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()
        tensors[tensor.name] = values.view(*reversed(tensor.shape.tolist()))
    return tensors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the GGUF files")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    text = weights(args.model / "encoder.gguf")
    torch.save({k: v for k, v in text.items() if k.startswith("model.")}, args.work / "text.pt")
