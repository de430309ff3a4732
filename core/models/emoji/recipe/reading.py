"""What a made picture shows: its nearest real pictures, thing by thing.

Every layout is tried: its cells count as what their nearest neighbours among all drawings (in every style, on every colour)
show, and the layout whose picture, put together of those, is the nearest counts. Pictures are compared at half their size.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

import data
from data import Layout, Scene

HALF = 2  # pixels of a made picture for one that is compared


@dataclass(frozen=True)
class Seen:
    """The concepts in the layout's cells, by their order, and the style and the background of most of them."""

    layout: Layout
    concepts: tuple[int, ...]
    style: int
    colour: int


@dataclass
class Accuracy:
    """Shares of pictures: every thing is right and stands where it should; style; background.

    For scenes of several things: as many things as there should be; the right things, wherever they stand.
    """

    concept: float
    style: float
    background: float
    count: float
    kind: float

    def __str__(self) -> str:
        return f"{self.concept:.3f}/{self.style:.3f}/{self.background:.3f} count {self.count:.3f} kind {self.kind:.3f}"


class Neighbours:
    """Pictures [n, 3, side, side] with what they show, to find the nearest of."""

    def __init__(self, pictures: torch.Tensor, scenes: list[Scene]):
        self.flat, self.scenes = pictures.flatten(1), scenes
        self.squares = self.flat.square().sum(1)

    def nearest(self, made: torch.Tensor) -> tuple[torch.Tensor, list[Scene]]:
        """(squared distances [n], scenes) of pictures [n, 3, side, side]"""
        made = made.flatten(1)
        found = (self.squares[None] - 2 * made @ self.flat.T).min(1)
        return found.values + made.square().sum(1), [self.scenes[i] for i in found.indices.tolist()]


class Reader:
    def __init__(self, work: Path):
        art, _, self.concepts = data.load(work)
        self.drawings = data.Drawings(art)
        scenes = data.all_scenes(len(art))
        whole = torch.stack([halved(data.compose(self.drawings, scene)[None])[0] for scene in scenes])
        small = torch.stack([halved(self._cell(scene)[None])[0] for scene in scenes])
        self.whole, self.small = Neighbours(whole, scenes), Neighbours(small, scenes)

    def _cell(self, scene: Scene) -> torch.Tensor:
        cell = data.flat(list(data.COLOURS.values())[scene.colour], data.CELL)
        room = (data.CELL - data.SMALL_DRAWING) // 2
        data.put(cell, self.drawings.at((scene.concept, scene.style), data.SMALL_DRAWING), room, room)
        return cell * 2 - 1

    def of(self, scenes: list[Scene]) -> torch.Tensor:
        """The real pictures."""
        return torch.stack([data.compose(self.drawings, scene) for scene in scenes])

    def read(self, made: torch.Tensor) -> list[Seen]:
        """Of pictures [n, 3, PICTURE, PICTURE] in -1..1"""
        made = halved(made)
        distance, scenes = self.whole.nearest(made)
        best = [(d, Seen(Layout.ONE, s.concepts, s.style, s.colour)) for d, s in zip(distance.tolist(), scenes)]
        cells = {cell: self.small.nearest(crop(made, cell)) for cell in {c for layout in data.SEVERAL for c in layout.cells}}
        for layout in (Layout.BESIDE, Layout.ABOVE, Layout.THREE):
            found = [cells[cell] for cell in layout.cells]
            for row in range(len(made)):
                parts = [scenes[row] for _, scenes in found]
                colour = most([part.colour for part in parts])
                error = sum(distance[row].item() for distance, _ in found) + around(made[row], layout, colour)
                if error < best[row][0]:
                    concepts = tuple(part.concept for part in parts)
                    best[row] = (error, Seen(layout, concepts, most([part.style for part in parts]), colour))
        return [seen for _, seen in best]

    def accuracy(self, made: torch.Tensor, wanted: list[Scene]) -> Accuracy:
        pairs = list(zip(self.read(made), wanted))
        share = lambda right: sum(right(seen, scene) for seen, scene in pairs) / len(pairs)  # noqa: E731
        cells = lambda scene: [(cell, concept) for concept, cell in scene.shown_at]  # noqa: E731
        return Accuracy(
            share(lambda seen, scene: list(zip(seen.layout.cells, seen.concepts)) == cells(scene)),
            share(lambda seen, scene: seen.style == scene.style), share(lambda seen, scene: seen.colour == scene.colour),
            share(lambda seen, scene: len(seen.concepts) == len(scene.shown_at)),
            share(lambda seen, scene: sorted(seen.concepts) == sorted(concept for concept, _ in scene.shown_at)),
        )  # fmt: skip


def halved(pictures: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(pictures, HALF)


def crop(halves: torch.Tensor, cell: tuple[int, int]) -> torch.Tensor:
    left, top, side = cell[0] // HALF, cell[1] // HALF, data.CELL // HALF
    return halves[..., top : top + side, left : left + side]


def around(half: torch.Tensor, layout: Layout, colour: int) -> float:
    """The squared distance of what no cell covers from the background."""
    error = (half - halved(data.flat(list(data.COLOURS.values())[colour])[None] * 2 - 1)[0]).square()
    return (error.sum() - sum(crop(error, cell).sum() for cell in layout.cells)).item()


def most(values: list[int]) -> int:
    return max(values, key=values.count)


def one_thing(concepts: int, count: int, seed: int, held_out: bool = True) -> list[Scene]:
    """Scenes of one thing in random order, repeated if need be: those that no stage trained on, or the others."""
    import random

    pool = [scene for scene in data.all_scenes(concepts) if scene.held_out == held_out]
    random.Random(seed).shuffle(pool)
    return (pool * -(-count // len(pool)))[:count]
