"""What ended stages made, as files to keep: a run that is interrupted goes on on another machine.

    python keep.py --work WORK --to FOLDER      # packs
    python keep.py --work WORK --from FOLDER    # unpacks, and marks the stages as done

Weights are kept in half precision, without optimizers: stages that have ended need none. Data is made again (data.py,
speech.py). The vocabularies are kept, since weights know them by number.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FOLDERS = {"vae": ["vae"], "flux": ["flux"], "decoder": ["vae-tuned"], "mllm": ["tokenizer"]}  # by stage
WEIGHTS = {"mllm": "text.pt", "vision": "vision.pt", "hearing": "hearing.pt", "reader": "reader.pt", "senses": "senses.pt"}


def halved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.half().contiguous() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def whole(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def copied(source: Path, target: Path, change) -> None:
    """A folder, its safetensors files changed."""
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        to = target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file(change(load_file(path)), to, {"format": "pt"})
        else:
            shutil.copyfile(path, to)


def pack(work: Path, folder: Path) -> None:
    for mark in sorted((work / "done").iterdir()):
        stage = mark.name
        for name in FOLDERS.get(stage, []):
            copied(work / name, folder / name, halved)
        if stage in WEIGHTS:
            weights = torch.load(work / WEIGHTS[stage], weights_only=True)
            weights.pop("lm_head.weight", None)  # the embedding's
            weights.pop("llm.lm_head.weight", None)
            folder.mkdir(parents=True, exist_ok=True)
            save_file(halved(weights), (folder / WEIGHTS[stage]).with_suffix(".safetensors"))
        print("kept", stage)
    if (work / "logs").exists():
        shutil.copytree(work / "logs", folder / "logs", dirs_exist_ok=True)


def unpack(folder: Path, work: Path) -> None:
    (work / "done").mkdir(parents=True, exist_ok=True)
    for stage in {*FOLDERS, *WEIGHTS}:
        names = FOLDERS.get(stage, [])
        kept = (folder / WEIGHTS[stage]).with_suffix(".safetensors") if stage in WEIGHTS else None
        if not all((folder / name).exists() for name in names) or (kept and not kept.exists()):
            continue
        for name in names:
            copied(folder / name, work / name, whole)
        if kept:
            weights = whole(load_file(kept))
            for embedding, head in (("model.embed_tokens.weight", "lm_head.weight"), ("llm.model.embed_tokens.weight", "llm.lm_head.weight")):
                if embedding in weights:
                    weights[head] = weights[embedding]
            torch.save(weights, work / WEIGHTS[stage])
        (work / "done" / stage).touch()
        print("unpacked", stage)
    if (folder / "logs").exists():
        shutil.copytree(folder / "logs", work / "logs", dirs_exist_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--to", type=Path)
    direction.add_argument("--from", dest="source", type=Path)
    args = parser.parse_args()
    if args.to:
        pack(args.work, args.to)
    else:
        unpack(args.source, args.work)
