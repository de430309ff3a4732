"""Pictures to look at: drawings of any size at any place on flat backgrounds, as the published processor shows them.

A picture of the prompt is laid out for the model by MiniCPM-o's image processor, whose numbers are in `PROCESSOR`: to an
area of SIDE x SIDE pixels by PIL's bicubic, bytes to -1..1. Here most pictures are composed at that size and others at
another one, and then resized by PIL as the processor would.

Scenes that are held out (`data.Scene.held_out`) are never shown in training, on their colour or on one near to it.
"""

import random
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import data

SIDE = 64
DRAWING = round(data.DRAWING * SIDE / data.PICTURE)
PATCH = 8
PROCESSOR = {
    "image_processor_type": "MiniCPMVImageProcessor", "feature_extractor_type": "WhisperFeatureExtractor",
    "max_slice_nums": 1, "scale_resolution": SIDE, "patch_size": PATCH, "use_image_id": False, "slice_mode": True,
    "im_start": "<image>", "im_end": "</image>", "slice_start": "<slice>", "slice_end": "</slice>", "unk": "<unk>",
    "im_id_start": "<image_id>", "im_id_end": "</image_id>", "norm_mean": [0.5] * 3, "norm_std": [0.5] * 3,
    "version": 2.6, "chunk_length": 30, "feature_size": 80, "hop_length": 160, "n_fft": 400, "n_samples": 480000,
    "nb_max_frames": 3000, "padding_side": "right", "padding_value": 0.0, "return_attention_mask": False,
    "sampling_rate": 16000,
}  # fmt: skip
SIZES = (34, 40, 46, 50, DRAWING, DRAWING, 58, 62)  # of a drawing, in pixels of SIDE
USUAL_SIZES = (50, DRAWING, DRAWING, 58)
USUAL = 0.6  # share of pictures with a drawing of about the transformer's size in the middle, which are learned first
USUAL_AT_LAST = 0.25
RESIZED, TILTED = 0.5, 0.2  # shares of the others
OTHER_SIDES = (48, 72, 96, 128, 160, 192, 256)
LARGE = 320  # side of a picture that is scored
JITTER = 14  # of a background's colour, in bytes


class Gallery:
    """Every drawing at every size, premultiplied, so that a picture costs one copy."""

    def __init__(self, art: np.ndarray):
        self.art, self.drawings = art, data.Drawings(art)
        pixels = torch.from_numpy(art).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        alpha = pixels[:, 3:]
        pixels = torch.cat([pixels[:, :3] * alpha, alpha], 1)
        self.by_size = {size: shrink(pixels, size) for size in sorted(set(SIZES))}

    def show(self, scene: data.Scene, colour, size: int, dx: int, dy: int) -> torch.Tensor:
        """[3, SIDE, SIDE] in 0..1: the drawing `size` pixels wide, off the centre by (dx, dy)."""
        drawing = self.by_size[size][scene.concept * len(data.STYLES) + scene.style].float() / 255
        picture = (torch.as_tensor(colour, dtype=torch.float32) / 255).view(3, 1, 1).repeat(1, SIDE, SIDE)
        top, left = (SIDE - size) // 2 + dy, (SIDE - size) // 2 + dx
        window = picture[:, top : top + size, left : left + size]
        window.mul_(1 - drawing[3:]).add_(drawing[:3])
        return picture

    def random(self, scene: data.Scene, rng=random, colour=None, usual: float = USUAL) -> torch.Tensor:
        """[3, SIDE, SIDE] in -1..1, of a scene somehow: sizes, places, shades (or `colour`), other resolutions, tilts."""
        colour = colour or shade(scene, rng)
        if rng.random() < usual:
            size, off = rng.choice(USUAL_SIZES), [rng.randint(-2, 2), rng.randint(-2, 2)]
            return as_bytes(self.show(scene, colour, size, *off))
        kind = rng.random()
        if kind < RESIZED:
            return self.resized(scene, colour, rng)
        size = rng.choice(SIZES)
        reach = (SIDE - size) // 2
        picture = self.show(scene, colour, size, rng.randint(-reach, reach), rng.randint(-reach, reach))
        if kind < RESIZED + TILTED:
            picture = tilted(picture, colour, rng)
        return as_bytes(picture)

    def resized(self, scene: data.Scene, colour, rng) -> torch.Tensor:
        """Composed with another side and brought to SIDE by PIL, as the processor does."""
        side = rng.choice(OTHER_SIDES)
        drawing = Image.fromarray(self.art[scene.concept, scene.style])
        size = round(side * rng.uniform(min(SIZES), max(SIZES)) / SIDE)
        drawing = drawing.resize((size, size), rng.choice((Image.LANCZOS, Image.BILINEAR, Image.BICUBIC)))
        canvas = Image.new("RGB", (side, side), tuple(colour))
        reach = (side - size) // 2
        canvas.paste(drawing, (reach + rng.randint(-reach, reach), reach + rng.randint(-reach, reach)), drawing)
        return processed(canvas)

    def large(self, scene: data.Scene, rng) -> Image.Image:
        """LARGE pixels wide, the drawing somewhere on three quarters of that: no size or place of the training's."""
        drawing = Image.fromarray(self.art[scene.concept, scene.style]).resize((LARGE * 3 // 4,) * 2, Image.LANCZOS)
        canvas = Image.new("RGB", (LARGE, LARGE), list(data.COLOURS.values())[scene.colour])
        canvas.paste(drawing, (rng.randint(0, LARGE // 4), rng.randint(0, LARGE // 4)), drawing)
        return canvas

    def plain(self, scene: data.Scene) -> torch.Tensor:
        """[3, SIDE, SIDE] in -1..1, as the processor shows what the transformer has learned to draw."""
        return processed(self.file(scene))

    def file(self, scene: data.Scene) -> Image.Image:
        """As the transformer has learned to draw it."""
        pixels = data.compose(self.drawings, scene).mul(127.5).add(127.5).round().byte()
        return Image.fromarray(pixels.permute(1, 2, 0).numpy())

    def clip(self, scene: data.Scene, frames: int, rng=random) -> torch.Tensor:
        """[frames, 3, SIDE, SIDE] in -1..1: the drawing moves over a still background, and may grow or shrink."""
        colour = shade(scene, rng)
        start, end = (self.pose(rng) for _ in range(2))
        poses = [start + (end - start) * (frame / max(1, frames - 1)) for frame in range(frames)]
        shown = []
        for size, x, y in poses:
            size = min(self.by_size, key=lambda known: abs(known - size))
            reach = (SIDE - size) // 2
            shown.append(as_bytes(self.show(scene, colour, size, round(x * reach), round(y * reach))))
        return torch.stack(shown)

    @staticmethod
    def pose(rng) -> np.ndarray:
        """Size, and the place as shares of the reach to either side."""
        return np.array([rng.choice(SIZES), rng.uniform(-1, 1), rng.uniform(-1, 1)])


def shrink(pixels: torch.Tensor, size: int) -> torch.Tensor:
    chunks = [F.interpolate(chunk, (size, size), mode="bilinear", antialias=True) for chunk in pixels.split(64)]
    return torch.cat(chunks).mul(255).round().clamp(0, 255).byte()


def shade(scene: data.Scene, rng) -> list[int]:
    colour = list(data.COLOURS.values())[scene.colour]
    if rng.random() < 0.4:
        return list(colour)
    return [min(255, max(0, value + rng.randint(-JITTER, JITTER))) for value in colour]


def any_colour(scene: data.Scene, rng) -> list[int]:
    """No colour with a name, or any other's shade; never near to the one on which this drawing is held out."""
    while True:
        colour = [rng.randint(0, 255) for _ in range(3)]
        squares = [sum((a - b) ** 2 for a, b in zip(colour, named)) for named in data.COLOURS.values()]
        if not replace(scene, colour=squares.index(min(squares))).held_out:
            return colour


def tilted(picture: torch.Tensor, colour, rng) -> torch.Tensor:
    """Turned by up to 12 degrees and sheared a little; the background fills what comes into view."""
    angle, shear = rng.uniform(-0.2, 0.2), rng.uniform(-0.1, 0.1)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = torch.tensor([[[cos, -sin + shear, 0.0], [sin, cos, 0.0]]], dtype=torch.float32)
    background = (torch.as_tensor(colour, dtype=torch.float32) / 255).view(3, 1, 1)
    grid = F.affine_grid(matrix, (1, 3, SIDE, SIDE), align_corners=False)
    return F.grid_sample((picture - background)[None], grid, align_corners=False)[0] + background


def as_bytes(picture: torch.Tensor) -> torch.Tensor:
    """0..1 to -1..1 through bytes: a picture file holds no more."""
    return picture.clamp(0, 1).mul(255).round().div(255).sub(0.5).div(0.5)


def processed(picture: Image.Image) -> torch.Tensor:
    """What MiniCPM-o's image processor makes of a picture without slices: [3, height, width] in -1..1."""
    width, height = view_size(*picture.size)
    pixels = torch.from_numpy(np.array(picture.convert("RGB").resize((width, height), Image.BICUBIC)))
    return pixels.permute(2, 0, 1).float().div(255).sub(0.5).div(0.5)


def view_size(width: int, height: int) -> tuple[int, int]:
    """About SIDE x SIDE pixels in the picture's shape, in whole patches (`find_best_resize`, which may enlarge)."""
    shape = width / height
    height = int(SIDE / shape**0.5)
    return tuple(max(round(side / PATCH), 1) * PATCH for side in (int(height * shape), height))


def shown_scenes(concepts: int) -> list[data.Scene]:
    """Of `concepts` of which the last one is UNKNOWN, which is nothing to see."""
    return [scene for scene in data.all_scenes(concepts - 1) if not scene.held_out]


if __name__ == "__main__":
    import sys
    from pathlib import Path

    gallery = Gallery(data.load(Path(sys.argv[1]))[0])
    rng = random.Random(0)
    scenes = rng.sample(shown_scenes(len(gallery.art)), 48)
    rows = [torch.stack([gallery.random(scene, rng) for scene in scenes])]
    rows += [gallery.clip(scene, 4, rng) for scene in scenes[:12]]
    data.save_grid(torch.cat(rows), 16, Path(sys.argv[1]) / "out/pictures.png", 2)
