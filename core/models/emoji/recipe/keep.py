"""What stages made, as files to keep: a run that is interrupted goes on on another machine.

    python keep.py --work WORK --to FOLDER      # packs
    python keep.py --work WORK --from FOLDER    # unpacks, and marks the stages that had ended as done

Of a stage that has ended (WORK/done) its results are kept in half precision; of one that has begun the averaged weights of its
checkpoint, in eight bits a number with a scale a row, and the step: it goes on from those, its optimizer anew. Data is made
again (data.py, speech.py). The vocabularies are kept, since weights know them by number.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FOLDERS = {"vae": ["vae"], "text": ["flux/text_encoder", "flux/text_encoder_2"], "flux": ["flux"], "decoder": ["vae-tuned"]}  # results by stage
WEIGHTS = {"mllm": "text.pt", "vision": "vision.pt", "hearing": "hearing.pt", "reader": "reader.pt", "senses": "senses.pt", "settled": "settled.pt"}
VOCABULARIES = ("tokenizer", "flux/tokenizer", "flux/tokenizer_2")
HEADS = {"model.embed_tokens.weight": "lm_head.weight", "llm.model.embed_tokens.weight": "llm.lm_head.weight"}  # the same numbers
SCALE = ".scale"


# ---- numbers -------------------------------------------------------------------------------------


def halved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.half().contiguous() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def whole(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def coarse(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices and convolutions in eight bits, each with `NAME.scale` [rows]."""
    found = {}
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or tensor.ndim < 2:
            found |= halved({name: tensor})
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / 127
        found[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape).contiguous()
        found[name + SCALE] = scale
    return found


def fine(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, tensor in weights.items():
        if name.endswith(SCALE):
            continue
        scale = weights.get(name + SCALE)
        found[name] = whole({name: tensor})[name] if scale is None else (tensor.flatten(1).float() * scale[:, None]).view(tensor.shape)
    return found


def without_heads(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights.items() if name not in HEADS.values()}


def with_heads(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return weights | {head: weights[name] for name, head in HEADS.items() if name in weights}


# ---- files ---------------------------------------------------------------------------------------


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
    done = {mark.name for mark in (work / "done").glob("*")}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in filter(lambda name: (work / name).exists(), VOCABULARIES):
        copied(work / name, folder / name, halved)
    for stage in sorted(done & {*FOLDERS, *WEIGHTS}):
        for name in FOLDERS.get(stage, []):
            copied(work / name, folder / name, halved)
        if stage in WEIGHTS:
            weights = torch.load(work / WEIGHTS[stage], weights_only=True)
            save_file(halved(without_heads(weights)), folder / f"{stage}.safetensors")
        print("kept", stage)
    for path in sorted(work.glob("*.checkpoint")):
        if path.stem not in done:
            state = torch.load(path, weights_only=False)
            weights = {f"{part}/{name}": tensor for part, own in state["averaged"].items() for name, tensor in without_heads(own).items()}
            save_file(coarse(weights), folder / f"{path.stem}-begun.safetensors")
            (folder / f"{path.stem}-begun.json").write_text(json.dumps({"step": state["step"], "cpu_seconds": state["cpu_seconds"]}) + "\n")
            print(f"kept {path.stem} at step {state['step']}")
    if (work / "logs").exists():
        shutil.copytree(work / "logs", folder / "logs")


def unpack(folder: Path, work: Path) -> None:
    (work / "done").mkdir(parents=True, exist_ok=True)
    for name in filter(lambda name: (folder / name).exists(), VOCABULARIES):
        copied(folder / name, work / name, whole)
    for stage, names in FOLDERS.items():
        if (folder / names[0] / "config.json").exists() or (folder / names[0] / "transformer").exists():
            for name in names:
                copied(folder / name, work / name, whole)
            (work / "done" / stage).touch()
    for stage, file in WEIGHTS.items():
        if (folder / f"{stage}.safetensors").exists():
            torch.save(with_heads(whole(load_file(folder / f"{stage}.safetensors"))), work / file)
            (work / "done" / stage).touch()
    for path in sorted(folder.glob("*-begun.safetensors")):
        parts: dict[str, dict] = {}
        for name, tensor in fine(load_file(path)).items():
            part, _, own = name.partition("/")
            parts.setdefault(part, {})[own] = tensor
        parts = {part: with_heads(weights) for part, weights in parts.items()}
        facts = json.loads(path.with_suffix(".json").read_text())
        state = {**facts, "live": parts, "averaged": parts, "optimizer": None, "random": None}
        torch.save(state, work / f"{path.stem.removesuffix('-begun')}.checkpoint")
    if (folder / "logs").exists():
        shutil.copytree(folder / "logs", work / "logs", dirs_exist_ok=True)
    print("done:", *sorted(mark.name for mark in (work / "done").glob("*")))


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
