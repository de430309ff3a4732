"""Pictures of a style that the embedded model never saw, and the score of a LoRA that learned it.

    python style.py pictures --work WORK
    python style.py score --work WORK --binary x2i --lora silhouettes.safetensors --sheet sheet.png

WORK holds art.npz and concepts.json (../../core/models/emoji/recipe/data.py). The new style is pixel art, made of the
drawings of Fluent Emoji (MIT): cells of 8 x 8 pixels in one dark colour (`silhouettes`), or in four shades of green with a
dark outline (`shades`). Of the 300 concepts 20 are to learn, 20 to choose settings by, and 120 to score. No drawing of
the last two in the new style is ever learned.
"""

import argparse
import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "core/models/emoji/recipe"))
import captions  # noqa: E402
import data  # noqa: E402

CELL = 8  # pixels
CELLS = 12  # of a drawing, without its outline
SHADES = {  # dark to light; the first is the outline's
    "silhouettes": [(20, 24, 48)],
    "shades": [(8, 24, 32), (52, 104, 86), (136, 192, 112), (224, 248, 208)],
}
LUMA = (0.299, 0.587, 0.114)
SAID = "fluent"  # the style in the captions, whose place the new one takes
LEARNED, CHOSEN_BY, SCORED = 20, 20, 120
SHEET_COLUMNS = 12
SIDES = (data.PICTURE // 2, data.PICTURE // CELL)  # of the thumbnails that are compared: of two pixels, and of cells
COLOURS = list(data.COLOURS.values())


@dataclass
class Art:
    """All drawings of the four known styles, and the concepts, without the one that stands for unknown words."""

    concepts: list[dict]
    art: np.ndarray  # [concepts, 4, side, side, 4]
    drawings: data.Drawings
    shades: torch.Tensor  # of the new style, [shades, 3] in 0..1

    @classmethod
    def load(cls, work: Path, style: str) -> "Art":
        art, _, concepts = data.load(work)
        return cls(concepts[:-1], art, data.Drawings(art), torch.tensor(SHADES[style], dtype=torch.float32) / 255)

    def picture(self, concept: int, style: int, colour: int) -> torch.Tensor:
        """[3, side, side] in -1..1; the style after the known ones is the new one."""
        if style == NEW:
            return pixel_art(self.art[concept, data.STYLES.index(SAID)], COLOURS[colour], self.shades)
        return data.compose(self.drawings, data.Scene((concept,), style, colour))


def pixel_art(rgba: np.ndarray, colour: tuple, shades: torch.Tensor) -> torch.Tensor:
    pixels = torch.from_numpy(rgba.copy()).permute(2, 0, 1).float() / 255
    premultiplied = torch.cat([pixels[:3] * pixels[3:], pixels[3:]])[None]
    small = F.interpolate(premultiplied, (CELLS, CELLS), mode="area")[0]
    solid = small[3] >= 0.5
    light = torch.tensordot(torch.tensor(LUMA), small[:3] / small[3].clamp(min=1e-3), 1)
    paint = shades[(light * len(shades)).long().clamp(0, len(shades) - 1)].permute(2, 0, 1)
    side = data.PICTURE // CELL
    start = (side - CELLS) // 2
    window = slice(start, start + CELLS)
    inside = torch.zeros(side, side, dtype=torch.bool)
    inside[window, window] = solid
    beside = torch.zeros_like(inside)
    for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        beside |= inside.roll(step, axis)
    cells = (torch.tensor(colour, dtype=torch.float32) / 255).view(3, 1, 1).repeat(1, side, side)
    cells[:, beside & ~inside] = shades[0][:, None]
    cells[:, window, window] = torch.where(solid, paint, cells[:, window, window])
    return cells.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2) * 2 - 1


NEW = len(data.STYLES)


def split(concepts: int) -> dict[str, list[tuple[int, int]]]:
    """(concept, colour) of every part."""
    order = list(range(concepts))
    random.Random(17).shuffle(order)
    pairs = [(concept, place % len(COLOURS)) for place, concept in enumerate(order)]
    edge = LEARNED + CHOSEN_BY
    return {"learned": pairs[:LEARNED], "chosen-by": pairs[LEARNED:edge], "scored": pairs[edge : edge + SCORED]}


def caption(art: Art, concept: int, colour: int, style: str = SAID) -> str:
    scene = data.Scene((concept,), data.STYLES.index(style), colour)
    return captions.fill("a {o} in {s} style on a {c} background", captions.label(art.concepts, scene, "en"), scene, "en")


def save(picture: torch.Tensor, path: Path) -> None:
    pixels = (picture * 127.5 + 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)


def write_pictures(art: Art, work: Path) -> None:
    for part in ("learned", "chosen-by"):
        folder = work / part
        folder.mkdir(parents=True, exist_ok=True)
        for number, (concept, colour) in enumerate(split(len(art.concepts))[part]):
            save(art.picture(concept, NEW, colour), folder / f"{number:02}.png")
            (folder / f"{number:02}.txt").write_text(caption(art, concept, colour) + "\n")


def paint(args, lines: list[dict], name: str, options: list[str]) -> torch.Tensor:
    """The binary's pictures of the lines, [lines, 3, side, side] in -1..1."""
    folder = args.work / "scored" / name
    folder.mkdir(parents=True, exist_ok=True)
    batch = folder / "prompts.jsonl"
    batch.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [args.binary, "generate", "--batch", str(batch), "-o", str(folder), "-q", *options]
    subprocess.run(command, check=True)
    pixels = np.stack([np.asarray(Image.open(folder / line["out"]).convert("RGB")) for line in lines])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


class Judge:
    """Compares pictures with the real ones of all five styles, by the squared distance of thumbnails' pixels."""

    def __init__(self, art: Art, side: int):
        count = len(art.concepts)
        self.side = side
        self.scenes = [(i, s, c) for i in range(count) for s in range(NEW + 1) for c in range(len(COLOURS))]
        self.flat = torch.stack([self.thumbnail(art.picture(*scene)[None])[0] for scene in self.scenes])
        self.index = {scene: place for place, scene in enumerate(self.scenes)}
        self.squares = self.flat.square().sum(1)

    def thumbnail(self, pictures: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(pictures, self.side).flatten(1)

    def scores(self, made: torch.Tensor, wanted: list[tuple[int, int]]) -> dict[str, float]:
        flat = self.thumbnail(made)
        near = (self.squares[None] - 2 * flat @ self.flat.T).argmin(1)
        seen = [self.scenes[place] for place in near.tolist()]
        own = torch.stack([
            torch.stack([self.flat[self.index[concept, style, colour]] for style in range(NEW + 1)])
            for concept, colour in wanted
        ])  # [pictures, styles, numbers]
        errors = (own - flat[:, None]).square().mean(2)
        share = lambda hits: sum(hits) / len(wanted)  # noqa: E731
        old = errors[:, data.STYLES.index(SAID)]
        return {
            f"nearer to its new drawing than to {SAID}'s": share((errors[:, NEW] < old).tolist()),
            "nearer to its new drawing than to all four old ones": share((errors.argmin(1) == NEW).tolist()),
            "the nearest of all drawings has the new style": share([scene[1] == NEW for scene in seen]),
            "the nearest of all drawings shows the concept": share([scene[0] == pair[0] for scene, pair in zip(seen, wanted)]),
            "the nearest of all drawings has the background": share([scene[2] == pair[1] for scene, pair in zip(seen, wanted)]),
            "PSNR to its new drawing, dB": float((10 * (4 / errors[:, NEW]).log10()).mean()),
        }


def table(title: str, columns: dict[str, dict[str, float]]) -> None:
    print(f"| {title} | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for measure in columns["with"]:
        values = [scores[measure] for scores in columns.values()]
        print(f"| {measure} | " + " | ".join("exact" if value > 99 else f"{value:.3f}" for value in values) + " |")
    print()


def score(args, art: Art) -> None:
    wanted = split(len(art.concepts))[args.part]
    lora = ["--lora", str(args.lora)]
    runs = {"without": (SAID, []), "with": (SAID, lora), "with, noto said": ("noto", lora)}
    judges, rows = [Judge(art, side) for side in SIDES], {}
    real = torch.stack([art.picture(concept, NEW, colour) for concept, colour in wanted])
    old = torch.stack([art.picture(concept, data.STYLES.index(SAID), colour) for concept, colour in wanted])
    rows[f"real, {SAID}"], rows["real, new"] = old, real
    for name, (style, options) in runs.items():
        lines = [
            {"prompt": caption(art, concept, colour, style), "seed": 5_000_000 + place, "out": f"{place:03}.png"}
            for place, (concept, colour) in enumerate(wanted)
        ]
        rows[name] = paint(args, lines, f"{args.part}-{name.replace(', ', '-').replace(' ', '-')}", options)
    for judge in judges:
        table(f"{judge.side} x {judge.side}", {name: judge.scores(made, wanted) for name, made in rows.items()})
    if args.sheet:
        every = len(wanted) // SHEET_COLUMNS
        shown = [old, rows["without"], rows["with"], real]
        data.save_grid(torch.cat([row[::every][:SHEET_COLUMNS] for row in shown]), SHEET_COLUMNS, args.sheet)
        Image.open(args.sheet).quantize(256, dither=Image.Dither.NONE).save(args.sheet, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pictures", "score"])
    parser.add_argument("--work", type=Path, required=True, help="folder with art.npz and concepts.json")
    parser.add_argument("--style", choices=list(SHADES), default="silhouettes", help="the new style")
    parser.add_argument("--binary", default="x2i")
    parser.add_argument("--lora", type=Path, default="silhouettes.safetensors")
    parser.add_argument("--part", choices=["learned", "chosen-by", "scored"], default="scored")
    parser.add_argument("--sheet", type=Path, help="also write a sheet of pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    art = Art.load(args.work, args.style)
    match args.what:
        case "pictures":
            write_pictures(art, args.work)
        case "score":
            score(args, art)


if __name__ == "__main__":
    main()
