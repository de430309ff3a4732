"""Stage 3a: the vision tower and the resampler learn to see, as a classifier of concept, style and background.

    python train_vision.py --work WORK

reads WORK/art.npz and writes WORK/vision.pt, the tensors `vpm.*` and `resampler.*` of the language model to come. The
language model could teach the tower by itself, but slowly: by answers alone 38,000 pictures gave 18 exact ones of 100.
The classifier's heads read the mean of the resampler's tokens and are thrown away. Some pictures have a background of any
colour, about which nothing is asked: without them drawings were known by their backgrounds, too (.94 of the concepts on
those of training, .81 on the others, after 1,300 steps).
"""

import random

import torch
import torch.nn.functional as F
from torch import nn

import data
import pictures
from muon import MuonAdamW, split_parameters
from senses import CONFIG
from minicpm_o import Resampler, VisionTower
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

BATCH = 64
MUON_LR, ADAM_LR = 1e-2, 2e-3
SMOOTHING = 0.05
ANY_COLOUR = 0.35  # share of pictures on a background without a name


class Classifier(nn.Module):
    """The parts under their own names, and a head for each thing a scene is made of."""

    def __init__(self, concepts: int):
        super().__init__()
        width, vision = CONFIG["hidden_size"], CONFIG["vision_config"]
        self.vpm = VisionTower(vision)
        self.resampler = Resampler(CONFIG["query_num"], width, vision["hidden_size"])
        self.heads = nn.ModuleList(nn.Linear(width, n) for n in (concepts, len(data.STYLES), len(data.COLOURS)))

    def forward(self, shown: torch.Tensor) -> list[torch.Tensor]:
        """Logits [pictures, classes] of concept, style and colour."""
        rows, columns = (side // pictures.PATCH for side in shown.shape[2:])
        seen = self.resampler(self.vpm(shown), rows, columns).mean(1)
        return [head(F.layer_norm(seen, seen.shape[-1:])) for head in self.heads]


def targets(scenes: list[data.Scene]) -> torch.Tensor:
    """[3, scenes]"""
    return torch.tensor([[s.concept, s.style, s.colour] for s in scenes]).T


def training_batch(gallery: pictures.Gallery, scenes: list[data.Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """(pictures, targets, -100 for a colour that is not asked for)"""
    batch = random.choices(scenes, k=BATCH)
    unnamed = [random.random() < ANY_COLOUR for _ in batch]
    colours = [pictures.any_colour(scene, random) if free else None for scene, free in zip(batch, unnamed)]
    wanted = targets(batch)
    wanted[2, torch.tensor(unnamed)] = -100
    return torch.stack([gallery.random(scene, colour=colour) for scene, colour in zip(batch, colours)]), wanted


@torch.no_grad()
def accuracy(model: Classifier, gallery: pictures.Gallery, count: int, seed: int = 5) -> list[float]:
    """Shares of concepts, styles and colours seen rightly in scenes that were never shown."""
    rng = random.Random(seed)
    scenes = rng.sample([s for s in data.all_scenes(len(gallery.art)) if s.held_out], count)
    shown = torch.stack([gallery.random(scene, rng) for scene in scenes])
    return [round((logits.argmax(1) == wanted).float().mean().item(), 3) for logits, wanted in zip(model(shown), targets(scenes))]


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    """All that mixes channels; positions, queries and the classifier's heads are no such thing."""
    return parameter.ndim in (2, 4) and not any(part in name for part in ("position_embedding", "query", "heads"))


def main() -> None:
    args = stage_arguments(__doc__, steps=1400).parse_args()
    seed_everything(args.seed)
    gallery = pictures.Gallery(data.load(args.work)[0])
    scenes = pictures.shown_scenes(len(gallery.art))
    model = Classifier(len(gallery.art))
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR, iterations=3)
    average = MovingAverage({"vision": model}, decay=0.99)
    checkpoint = Checkpoint(args.work, "vision", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"vision {parameter_count(model)}", flush=True)
    for step in range(first, args.steps):
        shown, wanted = training_batch(gallery, scenes)
        losses = [F.cross_entropy(a, b, label_smoothing=SMOOTHING) for a, b in zip(model(shown), wanted)]
        optimizer.zero_grad()
        sum(losses).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            checkpoint.save(step + 1)
            weights = average["vision"].state_dict()
            torch.save({k: v for k, v in weights.items() if not k.startswith("heads")}, args.work / "vision.pt")
            print(
                f"step {step + 1} losses {[round(loss.item(), 3) for loss in losses]} "
                f"unseen {accuracy(average['vision'], gallery, 256)} cpu {checkpoint.cpu_seconds():.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
