"""How far pictures follow the edges that they were given.

    python score.py --work WORK --binary x2i --weights model.safetensors --out scores

paints every scene of WORK/control/placed.json and unseen.json with LightControl and without, at one seed each, and
compares the edges of what was painted with those of the scene's picture. Writes scores.md, scores.png (a contact sheet)
and the pictures to `--out`; pictures that are there already are not painted again.

    precision   edge pixels of the painted picture that are within one pixel of an edge of the hint
    recall      edge pixels of the hint that are within one pixel of an edge of the painted picture
    F           their harmonic mean, a mean over the scenes
    chance      F against the edges of the next scene, which the picture was not given

Edges are those of OpenCV's Canny(100, 200), here by OpenCV itself. Needs numpy, pillow and opencv-python-headless.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

COLUMNS = 12  # scenes on the contact sheet


def edges(picture: Path) -> np.ndarray:
    """True for an edge, [height, width]."""
    return cv2.Canny(np.asarray(Image.open(picture).convert("RGB")), 100, 200) > 0


def near(found: np.ndarray) -> np.ndarray:
    """True within one pixel, across corners too."""
    return cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def compare(painted: np.ndarray, hint: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F; a picture without an edge has none of them."""
    precision = (painted & near(hint)).sum() / max(painted.sum(), 1)
    recall = (hint & near(painted)).sum() / max(hint.sum(), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


class Painter:
    def __init__(self, args):
        self.args = args

    def paint(self, file: Path, seed: int, caption: str, more: list[str]) -> Path:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            command = [self.args.binary, "generate", caption, "--seed", str(seed), "--device", "cpu", "--quiet", *more]
            environment = os.environ | {"RAYON_NUM_THREADS": "1"}
            subprocess.run([*command, "-o", str(file)], check=True, env=environment)
        return file

    def steered(self, file: Path, seed: int, caption: str, picture: Path, weights: Path) -> Path:
        control = ["--control", str(picture), "--control-hint", "edges", "--control-weights", str(weights)]
        return self.paint(file, seed, caption, control)


def score(args) -> None:
    painter, rows, sheet = Painter(args), [], []
    data = args.work / "control"
    for kind, caption in [("placed", "right"), ("placed", "other"), ("unseen", "other")]:
        scenes = json.loads((data / f"{kind}.json").read_text())
        found = {"without": [], "with": []}
        for number, scene in enumerate(scenes):
            picture, text = data / scene["picture"], scene[caption]
            folder = args.out / f"{kind}-{caption}"
            files = {"without": painter.paint(folder / f"without-{number:03}.png", number, text, [])}
            if args.weights:
                file = folder / f"with-{number:03}.png"
                files["with"] = painter.steered(file, number, text, picture, args.weights)
            hint, stranger = edges(picture), edges(data / scenes[(number + 1) % len(scenes)]["picture"])
            for how, file in files.items():
                painted = edges(file)
                found[how].append((*compare(painted, hint), compare(painted, stranger)[2]))
            if number < COLUMNS and args.weights:
                sheet.append((kind, caption, number, picture, files))
        rows += [(kind, caption, how, np.mean(values, axis=0)) for how, values in found.items() if values]
    lines = ["| drawing | caption | LightControl | precision | recall | F | chance |", "|---|---|---|---|---|---|---|"]
    for kind, caption, how, (precision, recall, f, chance) in rows:
        lines.append(f"| {kind} | {caption} | {how} | {precision:.3f} | {recall:.3f} | {f:.3f} | {chance:.3f} |")
    (args.out / "scores.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if sheet:
        save_sheet(sheet, args.out / "scores.png")


def save_sheet(cells: list, path: Path) -> None:
    """For each kind four rows: the scene's picture, its edges, painted without LightControl, and with it."""
    side, gap, title = 128, 2, 14
    kinds = list(dict.fromkeys((kind, caption) for kind, caption, *_ in cells))
    height = title + 4 * (side + gap)
    image = Image.new("RGB", (COLUMNS * (side + gap), len(kinds) * height), "white")
    for kind, caption, number, picture, files in cells:
        top = kinds.index((kind, caption)) * height
        words = f"{kind} drawing, caption of {'the right' if caption == 'right' else 'another'} concept: picture, edges, without, with"
        ImageDraw.Draw(image).text((2, top + 1), words, "black")
        hint = Image.fromarray(edges(picture).astype(np.uint8) * 255).convert("RGB")
        column = [Image.open(picture), hint, Image.open(files["without"]), Image.open(files["with"])]
        for row, tile in enumerate(column):
            image.paste(tile, (number * (side + gap), top + title + row * (side + gap)))
    image.quantize(255).save(path, optimize=True)


def save_curve(log: Path, path: Path) -> None:
    """The loss of a run: its moving mean over about 20 updates, and that of the validations as dots."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    size, left, top = (720, 260), 40, 10
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    last = max(line["update"] for line in lines)
    most = max(line.get("validation") or line.get("loss") or 0 for line in lines)
    place = lambda x, y: (left + x / last * (size[0] - left - 10), top + (1 - y / most) * (size[1] - top - 30))  # noqa: E731
    for step in range(int(most / 0.5) + 1):
        draw.line([place(0, step / 2), place(last, step / 2)], "#dddddd")
        draw.text((8, place(0, step / 2)[1] - 6), f"{step / 2:.1f}", "black")
    for update in range(0, last + 1, 200):
        draw.text((place(update, 0)[0] - 8, size[1] - 22), str(update), "black")
    mean, points = None, []
    for line in lines:
        if line.get("loss") is not None:
            mean = line["loss"] if mean is None else 0.95 * mean + 0.05 * line["loss"]
            points.append(place(line["update"], mean))
        if line.get("validation") is not None:
            x, y = place(line["update"], line["validation"])
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill="#d03030")
    draw.line(points, "#3060d0", 1)
    image.quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--binary", default="x2i")
    parser.add_argument("--weights", type=Path, help="without them only pictures without LightControl are scored")
    parser.add_argument("--out", type=Path, default="scores")
    parser.add_argument("--log", type=Path, help="a run's log.jsonl: its curve is drawn to curve.png")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.log:
        save_curve(args.log, args.out / "curve.png")
    score(args)
