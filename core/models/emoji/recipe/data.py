"""The pictures: emoji art rendered once, composed on flat backgrounds on demand.

    python data.py --packages node_modules --work WORK [--concepts 160]

reads the SVG art of four emoji sets (`@iconify-json/*`) and the labels of `emojibase-data`, and writes to WORK
    art.npz        art   [concepts, styles, 128, 128, 4] uint8 RGBA, trimmed and centred
                   extra [pictures, 128, 128, 4] uint8 RGBA, other emoji, only ever seen by the VAE
    concepts.json  [{"hexcode", "labels": {language: label}}], in the order of `art`
Which concepts: the first `--concepts` lines of concepts.txt that all four sets draw and that have a label of their
own in every language. Takes about one minute.
"""

import argparse
import io
import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

LANGUAGES = ["en", "zh", "de", "fr", "ja", "es", "ru", "vi"]
STYLES = ["noto", "twemoji", "fluent", "openmoji"]
PACKAGES = {"noto": "noto", "twemoji": "twemoji", "fluent": "fluent-emoji-flat", "openmoji": "openmoji"}
COLOURS = {
    "red": (214, 60, 60), "yellow": (250, 214, 80), "green": (90, 180, 100), "blue": (70, 120, 220),
    "purple": (140, 90, 200), "pink": (250, 170, 200), "white": (250, 250, 250), "gray": (130, 134, 140),
}  # fmt: skip
COLOUR_NAMES = list(COLOURS)
PICTURE = 64  # side of a training picture
DRAWING = 54  # side of the emoji on it
ART = 128  # side of the rendered art
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

        png = resvg_py.svg_to_bytes(svg_string=svg, width=160, height=160)
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
    entries = {
        language: {e["hexcode"]: e for e in json.loads((packages / "emojibase-data" / language / "data.json").read_text())}
        for language in LANGUAGES
    }
    concepts = choose_concepts(entries, sets, count)
    art = [[sets[style].render(concept["hexcode"]) for style in STYLES] for concept in concepts]
    chosen = {concept["hexcode"] for concept in concepts}
    rng = random.Random(0)
    extra = []
    for hexcode, entry in entries["en"].items():
        group = entry.get("group")
        if hexcode in chosen or group is None or group in COMPONENTS_AND_FLAGS or rng.random() < 0.4:
            continue
        drawings = (icon_set.render(hexcode) for icon_set in sets.values() if icon_set.has(hexcode))
        extra += [drawing for drawing in drawings if drawing is not None]
    work.mkdir(parents=True, exist_ok=True)
    np.savez(work / "art.npz", art=np.stack([np.stack(row) for row in art]), extra=np.stack(extra))
    (work / "concepts.json").write_text(json.dumps(concepts, ensure_ascii=False, indent=1))
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
    return concepts[:count]


# ---- composing -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """What a picture shows, as indices: concept, style, background colour."""

    concept: int
    style: int
    colour: int


    @property
    def held_out(self) -> bool:
        """Kept from every stage but the VAE and used for scoring: one colour of every second drawing."""
        return (self.concept + self.style) % 2 == 0 and self.colour == (3 * self.concept + 5 * self.style) % 8


def all_scenes(concepts: int) -> list[Scene]:
    return [Scene(i, s, c) for i in range(concepts) for s in range(len(STYLES)) for c in range(len(COLOURS))]


def load(work: Path) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """(art, extra, concepts) as `prepare` wrote them."""
    arrays = np.load(work / "art.npz")
    return arrays["art"], arrays["extra"], json.loads((work / "concepts.json").read_text())


def compose(rgba: np.ndarray, colour: tuple, size: int = DRAWING, dx: int = 0, dy: int = 0) -> torch.Tensor:
    """The drawing, `size` pixels wide, over a flat colour: [3, PICTURE, PICTURE] in -1..1."""
    pixels = torch.from_numpy(rgba).permute(2, 0, 1).float() / 255  # [4, ART, ART]
    alpha = pixels[3:]
    premultiplied = torch.cat([pixels[:3] * alpha, alpha])[None]
    small = F.interpolate(premultiplied, (size, size), mode="bilinear", antialias=True)[0]
    picture = (torch.tensor(colour, dtype=torch.float32) / 255).view(3, 1, 1).repeat(1, PICTURE, PICTURE)
    top, left = (PICTURE - size) // 2 + dy, (PICTURE - size) // 2 + dx
    window = picture[:, top : top + size, left : left + size]
    window.mul_(1 - small[3:]).add_(small[:3])
    return picture * 2 - 1


def compose_all(art: np.ndarray) -> tuple[list[Scene], torch.Tensor]:
    """Every scene and its picture [scenes, 3, PICTURE, PICTURE]: the whole set of real pictures."""
    scenes = all_scenes(len(art))
    colours = list(COLOURS.values())
    return scenes, torch.stack([compose(art[s.concept, s.style], colours[s.colour]) for s in scenes])


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
    parser.add_argument("--concepts", type=int, default=160)
    args = parser.parse_args()
    prepare(args.packages, args.work, args.concepts)
