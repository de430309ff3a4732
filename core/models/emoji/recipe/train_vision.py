"""Stage 3a: the vision tower and the resampler learn to tell what a picture shows, in the language model's own words.

    python train_vision.py --work WORK

reads WORK/art.npz and WORK/text.pt and writes WORK/vision.pt, the tensors `vpm.*` and `resampler.*` of the language model
to come. Every query of the resampler fills one slot (slots.py). Some pictures have a background of any colour, which is
told as `<unk>`: without them drawings were known by their backgrounds, too. Drawings in the middle come first; later most
pictures have another size or another place.
"""

import random

import torch
from torch import nn

import data
import pictures
import senses
import vocabulary
from minicpm_o import Resampler, VisionTower
from muon import MuonAdamW, split_parameters
from senses import CONFIG
from slots import Slots
from training import (
    Checkpoint, MovingAverage, half_precision, parameter_count, seed_everything, stage_arguments, warm_up_then_decay,
)  # fmt: skip

BATCH = 64
MUON_LR, ADAM_LR = 3e-3, 1e-3
ANY_COLOUR = 0.3  # share of pictures on a background without a name
MIDDLE_FIRST = 1200  # steps


class Seer(nn.Module):
    """The parts under their own names."""

    def __init__(self):
        super().__init__()
        vision = CONFIG["vision_config"]
        self.vpm = VisionTower(vision)
        self.resampler = Resampler(CONFIG["query_num"], CONFIG["hidden_size"], vision["hidden_size"])

    def forward(self, shown: torch.Tensor) -> torch.Tensor:
        """Pictures to tokens in units [pictures, SLOTS, hidden]."""
        rows, columns = (side // pictures.PATCH for side in shown.shape[2:])
        return self.resampler(self.vpm(shown), rows, columns)

    def weights(self, unit: float) -> dict[str, torch.Tensor]:
        """For tokens as large as the text's."""
        weights = self.state_dict()
        return weights | {"resampler.proj": weights["resampler.proj"] * unit}


def usual(step: int) -> float:
    """Share of pictures with the drawing in the middle."""
    return pictures.USUAL if step < MIDDLE_FIRST else pictures.USUAL_AT_LAST


def training_batch(gallery: pictures.Gallery, scenes: list[data.Scene], slots: Slots, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(pictures, words)"""
    batch = random.choices(scenes, k=BATCH)
    unnamed = [random.random() < ANY_COLOUR for _ in batch]
    colours = [pictures.any_colour(scene, random) if free else None for scene, free in zip(batch, unnamed)]
    words = slots.words(batch)
    words[torch.tensor(unnamed), senses.CONCEPT_SLOTS] = slots.filler
    return torch.stack([gallery.random(scene, random, colour, usual(step)) for scene, colour in zip(batch, colours)]), words


@torch.no_grad()
def accuracy(model: Seer, gallery: pictures.Gallery, slots: Slots, count: int, seed: int = 5) -> str:
    """Shares of concepts, styles and colours told rightly of scenes that were never shown: as drawn, somehow, and large."""
    rng = random.Random(seed)
    scenes = rng.sample([s for s in data.all_scenes(len(gallery.art) - 1) if s.held_out], count)
    share = lambda shown: [round(x, 3) for x in slots.right(model(torch.stack(shown)), scenes).float().mean(1).tolist()]  # noqa: E731
    plain, somehow = share([gallery.plain(s) for s in scenes]), share([gallery.random(s, rng) for s in scenes])
    return f"plain {plain} random {somehow} large {share([pictures.processed(gallery.large(s, rng)) for s in scenes])}"


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    """All that mixes channels; positions and queries are no such thing."""
    return parameter.ndim in (2, 4) and not any(part in name for part in ("position_embedding", "query"))


def main() -> None:
    args = stage_arguments(__doc__, steps=5000).parse_args()
    seed_everything(args.seed)
    art, _, concepts = data.load(args.work)
    gallery, scenes = pictures.Gallery(art), pictures.shown_scenes(len(art))
    slots, model = Slots(args.work, vocabulary.language_model_tokenizer(args.work, concepts), concepts), Seer()
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR)
    average = MovingAverage({"vision": model}, decay=0.99)
    checkpoint = Checkpoint(args.work, "vision", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"vision {parameter_count(model)}", flush=True)
    for step in range(first, args.steps):
        shown, words = training_batch(gallery, scenes, slots, step)
        with half_precision():
            told = model(shown)
        loss = slots.loss(told.float(), words)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            checkpoint.save(step + 1)
            torch.save(average["vision"].weights(slots.unit), args.work / "vision.pt")
            facts = f"loss {loss.item():.3f} unseen {accuracy(average['vision'], gallery, slots, 256)}"
            print(f"step {step + 1} {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)


if __name__ == "__main__":
    main()
