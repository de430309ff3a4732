"""The pictures that LightControl learns from, and those that it is scored on.

    python data.py --work WORK

`WORK` is where `core/models/emoji/recipe/data.py` wrote `art.npz` and `concepts.json`. Writes to WORK/control
    train.jsonl, train/*.png     drawings of any size anywhere on a flat background, each with a caption
    held-out.jsonl, held-out/    the same, of drawings and scenes that are in no training picture
    placed.json, unseen.json     what is scored: [{"picture", "right", "other"}], captions of the right and of another concept

Half of the captions name the right concept, half another one: the caption alone says neither where a drawing is nor how
large, and in every second picture not what it is, so that edges have to say it. The colour is always right. A third
of the pictures are other emoji, which the model never learnt to paint. Takes about a minute.
"""

import argparse
import json
import random
import sys
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "core/models/emoji/recipe"))
from data import COLOURS, COLOUR_NAMES, PICTURE, STYLES, Drawings, Scene, flat, load, put  # noqa: E402

SIZES = (68, 120)  # side of a drawing on its picture
EXTRA = 1 / 3  # share of pictures whose drawing is none of the model's concepts
WRONG = 1 / 2  # share of captions that name another concept
HELD_OUT_EXTRA = 10  # every so manieth other emoji is held out


class Pictures:
    """Draws pictures and writes them."""

    def __init__(self, work: Path, seed: int):
        art, extra, concepts = load(work)
        self.art, self.extra, self.extras = Drawings(art), Drawings(extra), len(extra)
        self.names = [concept["labels"]["en"].lower() for concept in concepts[:-1]]  # without UNKNOWN
        self.random = random.Random(seed)
        self.folder = work / "control"

    def caption(self, concept: int, colour: int) -> str:
        return f"{self.names[concept]} on a {COLOUR_NAMES[colour]} background"

    def other(self, concept: int | None) -> int:
        return self.random.choice([index for index in range(len(self.names)) if index != concept])

    def write(self, drawings: Drawings, index: tuple[int, ...], colour: int, path: Path) -> None:
        """A drawing at a random size and place, every second one mirrored."""
        size = self.random.randint(*SIZES)
        drawing = drawings.at(index, size)
        if self.random.random() < 0.5:
            drawing = drawing.flip(-1)
        picture = flat(list(COLOURS.values())[colour])
        put(picture, drawing, *(self.random.randint(0, PICTURE - size) for _ in range(2)))
        pixels = (picture * 255).clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def scene(self, held_out: bool) -> Scene:
        while True:
            draw = self.random.randrange
            scene = Scene((draw(len(self.names)),), draw(len(STYLES)), draw(len(COLOURS)))
            if scene.held_out == held_out:
                return scene

    def other_emoji(self, held_out: bool) -> tuple[int]:
        """Which of the drawings that show none of the concepts."""
        while True:
            index = self.random.randrange(self.extras)
            if (index % HELD_OUT_EXTRA == 0) == held_out:
                return (index,)

    def training(self, name: str, count: int, held_out: bool) -> None:
        lines = []
        for number in range(count):
            scene = self.scene(held_out)
            is_extra = self.random.random() < EXTRA
            drawing = (self.extra, self.other_emoji(held_out)) if is_extra else (self.art, (scene.concept, scene.style))
            wrong = is_extra or self.random.random() < WRONG
            concept = self.other(scene.concept) if wrong else scene.concept
            file = f"{name}/{number:05}.png"
            self.write(*drawing, scene.colour, self.folder / file)
            lines.append({"image": file, "caption": self.caption(concept, scene.colour)})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.folder / f"{name}.jsonl").write_text(text)

    def scored(self, name: str, count: int) -> None:
        """`placed`: held-out scenes of the model's concepts; `unseen`: other emoji, held out."""
        scenes = []
        for number in range(count):
            scene = self.scene(True)
            drawing = (self.art, (scene.concept, scene.style)) if name == "placed" else (self.extra, self.other_emoji(True))
            file = f"{name}/{number:03}.png"
            self.write(*drawing, scene.colour, self.folder / file)
            right = self.caption(scene.concept, scene.colour) if name == "placed" else None
            other = self.caption(self.other(scene.concept), scene.colour)
            scenes.append({"picture": file, "right": right, "other": other})
        (self.folder / f"{name}.json").write_text(json.dumps(scenes, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=8000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    Pictures(args.work, 1).training("train", args.pictures, held_out=False)
    Pictures(args.work, 2).training("held-out", 64, held_out=True)
    Pictures(args.work, 3).scored("placed", 64)
    Pictures(args.work, 4).scored("unseen", 64)
