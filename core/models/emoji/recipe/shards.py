"""Stage 4's data: English captions with their answers and pictures, as `x2i train align` reads them.

    python shards.py --work WORK

writes WORK/align/train.jsonl (twelve phrasings a scene), WORK/align/held-out.jsonl (one, of the scenes that no stage is
trained on) and WORK/align/pictures. A line is {"caption", "answer", "picture"}: what a user says, the canonical caption
that the language model answers with and the teacher reads, and the scene as a PNG file.
"""

import argparse
import json
import random
from pathlib import Path

from PIL import Image

import captions
import data

PHRASINGS = 12


def line(concepts: list[dict], scene: data.Scene, rng: random.Random) -> str:
    return json.dumps({
        "caption": captions.training_caption(concepts, scene, "en", rng),
        "answer": captions.canonical(concepts, scene),
        "picture": f"pictures/{name(scene)}",
    })  # fmt: skip


def name(scene: data.Scene) -> str:
    return f"{scene.concept:03}-{data.STYLES[scene.style]}-{data.COLOUR_NAMES[scene.colour]}.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    art, _, concepts = data.load(args.work)
    folder = args.work / "align"
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    lines: dict[bool, list[str]] = {True: [], False: []}
    for scene, picture in zip(*data.compose_all(art)):
        pixels = (picture * 127.5 + 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / "pictures" / name(scene))
        phrasings = 1 if scene.held_out else PHRASINGS
        lines[scene.held_out] += [line(concepts, scene, rng) for _ in range(phrasings)]
    rng.shuffle(lines[True])  # a validation reads the first ones
    for held_out, file in ((False, "train.jsonl"), (True, "held-out.jsonl")):
        (folder / file).write_text("\n".join(lines[held_out]) + "\n")


if __name__ == "__main__":
    main()
