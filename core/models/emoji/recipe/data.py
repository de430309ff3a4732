"""The pictures: emoji art rendered once, composed on flat backgrounds on demand.

    python data.py --packages node_modules --work WORK [--concepts 160]

reads the SVG art of four emoji sets (`@iconify-json/*`) and the labels of `emojibase-data`, and writes to WORK
    art.npz        art   [concepts, styles, 160, 160, 4] uint8 RGBA, trimmed and centred
                   extra [pictures, 160, 160, 4] uint8 RGBA, other emoji, only ever seen by the VAE
    concepts.json  [{"hexcode", "labels": {language: label}, "forms": words.add_forms}], in the order of `art`
    entries.json   emojibase's labels and groups of every emoji, by language and code
Which concepts: the first `--concepts` lines of concepts.txt that all four sets draw and that have a label of their
own in every language, and behind them UNKNOWN, the question mark that is drawn for words that the model does not know.
Takes about two minutes.
"""

import argparse
import io
import json
import random
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import words

LANGUAGES = ["en", "zh", "de", "fr", "ja", "es", "ru", "vi"]
STYLES = ["noto", "twemoji", "fluent", "openmoji"]
PACKAGES = {"noto": "noto", "twemoji": "twemoji", "fluent": "fluent-emoji-flat", "openmoji": "openmoji"}
COLOURS = {
    "red": (214, 60, 60), "yellow": (250, 214, 80), "green": (90, 180, 100), "blue": (70, 120, 220),
    "purple": (140, 90, 200), "pink": (250, 170, 200), "white": (250, 250, 250), "gray": (130, 134, 140),
}  # fmt: skip
COLOUR_NAMES = list(COLOURS)
PICTURE = 128  # side of a training picture
DRAWING = 108  # side of the emoji on it
CELL = 64  # side of a thing's share of a picture of several things
SMALL_DRAWING = 58  # side of the emoji in it
ART = 160  # side of the rendered art
UNKNOWN = "red question mark"
COMPONENTS_AND_FLAGS = (2, 9)  # emojibase groups without drawings of their own


# ---- rendering -----------------------------------------------------------------------------------


class IconSet:
    """One `@iconify-json` package: SVG bodies by icon name, icon names by code points."""

    def __init__(self, folder: Path):
        self.icons = json.loads((folder / "icons.json").read_text())
        self.names = json.loads((folder / "chars.json").read_text())

    def has(self, hexcode: str) -> bool:
        return self._name(hexcode) is not None

    def render(self, hexcode: str) -> np.ndarray | None:
        """RGBA [ART, ART, 4], the drawing trimmed to its visible pixels and centred; None if there is none."""
        name = self._name(hexcode)
        svg = self._svg(name) if name else None
        if svg is None:
            return None
        import resvg_py

        png = resvg_py.svg_to_bytes(svg_string=svg, width=200, height=200)
        return trim(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))

    def _name(self, hexcode: str) -> str | None:
        code = hexcode.lower()
        return self.names.get(code) or self.names.get(code.replace("-fe0f", ""))

    def _svg(self, name: str) -> str | None:
        icons, aliases = self.icons["icons"], self.icons.get("aliases", {})
        icon = icons.get(name) or icons.get(aliases.get(name, {}).get("parent"))
        if icon is None:
            return None
        width = icon.get("width", self.icons.get("width", 16))
        height = icon.get("height", self.icons.get("height", 16))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )


def trim(picture: Image.Image) -> np.ndarray | None:
    ys, xs = np.where(np.asarray(picture)[..., 3] > 16)
    if len(xs) == 0:
        return None
    picture = picture.crop((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    scale = ART / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    canvas = Image.new("RGBA", (ART, ART))
    canvas.paste(picture.resize((width, height), Image.LANCZOS), ((ART - width) // 2, (ART - height) // 2))
    return np.asarray(canvas)


def prepare(packages: Path, work: Path, count: int) -> None:
    sets = {style: IconSet(packages / "@iconify-json" / PACKAGES[style]) for style in STYLES}
    entries = words.emoji_entries(packages, LANGUAGES)
    concepts = choose_concepts(entries, sets, count)
    from captions import colour_words  # which needs this module

    words.add_forms(concepts, entries, colour_words())
    art = [[sets[style].render(concept["hexcode"]) for style in STYLES] for concept in concepts]
    chosen = {concept["hexcode"] for concept in concepts}
    rng = random.Random(0)
    extra = []
    for hexcode, entry in entries["en"].items():
        group = entry.get("group")
        if hexcode in chosen or group is None or group in COMPONENTS_AND_FLAGS or rng.random() < 0.6:
            continue
        drawings = (icon_set.render(hexcode) for icon_set in sets.values() if icon_set.has(hexcode))
        extra += [drawing for drawing in drawings if drawing is not None]
    work.mkdir(parents=True, exist_ok=True)
    np.savez(work / "art.npz", art=np.stack([np.stack(row) for row in art]), extra=np.stack(extra))
    (work / "concepts.json").write_text(json.dumps(concepts, ensure_ascii=False, indent=1))
    brief = {x: {code: {key: e.get(key) for key in ("label", "group")} for code, e in by_code.items()} for x, by_code in entries.items()}
    (work / "entries.json").write_text(json.dumps(brief, ensure_ascii=False))
    print(f"{len(concepts)} concepts x {len(STYLES)} styles, {len(extra)} extra drawings")


def choose_concepts(entries: dict, sets: dict[str, IconSet], count: int) -> list[dict]:
    by_label = {entry["label"].lower(): hexcode for hexcode, entry in entries["en"].items()}
    wanted = [line.strip() for line in (Path(__file__).parent / "concepts.txt").read_text().splitlines() if line.strip()]
    concepts = []
    for label in wanted:
        hexcode = by_label.get(label)
        if hexcode is None or not all(icon_set.has(hexcode) for icon_set in sets.values()):
            print(f"concepts.txt: no drawing in all four sets of: {label}")
            continue
        labels = {language: entries[language][hexcode]["label"] for language in LANGUAGES}
        concepts.append({"hexcode": hexcode, "labels": labels})
    for language in LANGUAGES:
        uses = Counter(concept["labels"][language].lower() for concept in concepts)
        twice = [c for c in concepts if uses[c["labels"][language].lower()] > 1]
        for concept in twice:
            print(f"concepts.txt: label used twice in {language}: {concept['labels']['en']}")
        concepts = [c for c in concepts if c not in twice]
    unknown = by_label[UNKNOWN]
    return concepts[:count] + [{"hexcode": unknown, "labels": {x: entries[x][unknown]["label"] for x in LANGUAGES}}]


# ---- scenes --------------------------------------------------------------------------------------


class Layout(Enum):
    """Where the things of a picture stand: cells of the grid of 16 x 16 pixels that the transformer's tokens make."""

    ONE = "one"
    TWO = "two"  # the same thing twice, side by side
    THREE = "three"
    BESIDE = "beside"  # one thing, and another one to its right
    ABOVE = "above"  # one thing, and another one below it

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Left and top corner of every cell; a picture of one thing has one cell, the picture."""
        return CELLS[self]

    @property
    def kinds(self) -> int:
        """Things to name."""
        return 2 if self in (Layout.BESIDE, Layout.ABOVE) else 1


CELLS = {
    Layout.ONE: [(0, 0)],
    Layout.TWO: [(0, 32), (64, 32)],
    Layout.THREE: [(32, 0), (0, 64), (64, 64)],
    Layout.BESIDE: [(0, 32), (64, 32)],
    Layout.ABOVE: [(32, 0), (32, 64)],
}  # fmt: skip
SEVERAL = [layout for layout in Layout if layout != Layout.ONE]


@dataclass(frozen=True)
class Scene:
    """What a picture shows: concepts (from left to right, or from top to bottom), style and background as indices."""

    concepts: tuple[int, ...]
    style: int
    colour: int
    layout: Layout = Layout.ONE

    @property
    def concept(self) -> int:
        """The first, or only, thing."""
        return self.concepts[0]

    @property
    def held_out(self) -> bool:
        """Kept from every stage but the VAE and used for scoring.

        Of one thing: one colour of every second drawing. Of several of a thing: one in eight of all combinations.
        Of two things: one in eight of all pairs, in either order, in every place, style and colour.
        """
        if self.layout == Layout.ONE:
            return (self.concept + self.style) % 2 == 0 and self.colour == (3 * self.concept + 5 * self.style) % 8
        if self.layout.kinds == 1:
            return (self.concept + 3 * self.style + 5 * self.colour + (self.layout == Layout.THREE)) % 8 == 0
        return sum(self.concepts) * 7 % 8 == abs(self.concepts[0] - self.concepts[1]) % 8

    @property
    def shown_at(self) -> list[tuple[int, tuple[int, int]]]:
        """(concept, cell) of every drawing."""
        cells = self.layout.cells
        concepts = self.concepts if self.layout.kinds == 2 else self.concepts * len(cells)
        return list(zip(concepts, cells))


def all_scenes(concepts: int) -> list[Scene]:
    """Every scene of one thing."""
    return [Scene((i,), s, c) for i in range(concepts) for s in range(len(STYLES)) for c in range(len(COLOURS))]


def random_several(concepts: int, rng, held_out: bool = False, layout: Layout | None = None) -> Scene:
    """A scene of several things: a pair three times in four. Pairs are of known concepts, not of UNKNOWN."""
    while True:
        chosen = layout or rng.choice((Layout.TWO, Layout.THREE, *[Layout.BESIDE, Layout.ABOVE] * 3))
        things = tuple(rng.sample(range(concepts), chosen.kinds))
        scene = Scene(things, rng.randrange(len(STYLES)), rng.randrange(len(COLOURS)), chosen)
        if scene.held_out == held_out:
            return scene


def load(work: Path) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """(art, extra, concepts) as `prepare` wrote them. The last concept is the one that stands for unknown words."""
    arrays = np.load(work / "art.npz")
    return arrays["art"], arrays["extra"], json.loads((work / "concepts.json").read_text())


# ---- composing -----------------------------------------------------------------------------------


class Drawings:
    """Drawings as premultiplied RGBA, at the sizes that are asked for."""

    def __init__(self, art: np.ndarray):
        """`art` [..., ART, ART, 4] uint8, RGBA"""
        self.art, self.kept = art, {}

    def at(self, index: tuple[int, ...], size: int) -> torch.Tensor:
        """[4, size, size] in 0..1"""
        key = (*index, size)
        if key not in self.kept:
            pixels = torch.from_numpy(self.art[index]).permute(2, 0, 1).float() / 255
            alpha = pixels[3:]
            premultiplied = torch.cat([pixels[:3] * alpha, alpha])[None]
            small = F.interpolate(premultiplied, (size, size), mode="bilinear", antialias=True)[0]
            self.kept[key] = (small * 255).round().byte()
        return self.kept[key].float() / 255


def flat(colour: tuple, side: int = PICTURE) -> torch.Tensor:
    return (torch.tensor(colour, dtype=torch.float32) / 255).view(3, 1, 1).repeat(1, side, side)


def put(picture: torch.Tensor, drawing: torch.Tensor, left: int, top: int) -> None:
    """Draws premultiplied [4, size, size] over a picture [3, height, width] in 0..1, in place."""
    size = drawing.shape[-1]
    picture[:, top : top + size, left : left + size].mul_(1 - drawing[3:]).add_(drawing[:3])


def compose(drawings: Drawings, scene: Scene) -> torch.Tensor:
    """The scene as the transformer is to draw it: [3, PICTURE, PICTURE] in -1..1."""
    picture = flat(list(COLOURS.values())[scene.colour])
    one = scene.layout == Layout.ONE
    size, cell = (DRAWING, PICTURE) if one else (SMALL_DRAWING, CELL)
    for concept, (left, top) in scene.shown_at:
        room = (cell - size) // 2
        put(picture, drawings.at((concept, scene.style), size), left + room, top + room)
    return picture * 2 - 1


def save_grid(pictures: torch.Tensor, columns: int, path: Path, scale: int = 1) -> None:
    """Pictures [n, 3, h, w] in -1..1 as one PNG."""
    pixels = (pictures.clamp(-1, 1) * 127.5 + 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    count, height, width, _ = pixels.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 2), columns * (width + 2), 3), 255, np.uint8)
    for index, picture in enumerate(pixels):
        top, left = index // columns * (height + 2), index % columns * (width + 2)
        sheet[top : top + height, left : left + width] = picture
    image = Image.fromarray(sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * scale, image.height * scale), Image.NEAREST).save(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, default="node_modules", help="folder npm installed into")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--concepts", type=int, default=300)
    args = parser.parse_args()
    prepare(args.packages, args.work, args.concepts)
