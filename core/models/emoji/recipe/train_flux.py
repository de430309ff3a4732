"""Stage 2: the FLUX transformer, under the text encoders of stage 2a, by flow matching.

    python train_flux.py --work WORK

reads WORK/vae (stage 1) and WORK/flux/{text_encoder,text_encoder_2} (stage 2a) and writes WORK/latents.pt, the latents of
every scene of one thing and of some thousands of several, and WORK/flux/transformer. All three are the teacher of
stage 4; the encoders are not shipped. Noise levels: two in five logit-normal, the rest exactly those that four plain
Euler steps visit, so that four steps are enough without a distillation of their own. From step OWN_FROM on half of a batch
are pictures that the transformer has begun itself (`begun`).
"""

import random
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from diffusers import AutoencoderKL

import captions
import data
import teacher
from muon import MuonAdamW, split_parameters
from reading import Reader, one_thing
from training import (
    Checkpoint, MovingAverage, half_precision, one_over_step, parameter_count, seed_everything, stage_arguments,
)  # fmt: skip
from train_vae import encode_all, psnr

BATCH = 64
SEVERAL = 12_000  # scenes of several things
ONE_THING = 0.5  # share of a batch: large drawings have four times the tokens, and every small one is in many scenes
MUON_LR, ADAM_LR = 3e-3, 1e-3
FOUR_STEPS = torch.tensor([1.0, 1.0, 1.0, 0.75, 0.5, 0.25])  # sigma 1 often: the caption decides everything there
OWN_FROM = 3400  # step from which half of a batch are pictures that the transformer has begun itself


def training_scenes(concepts: int) -> list[data.Scene]:
    rng = random.Random(0)
    one = [scene for scene in data.all_scenes(concepts) if not scene.held_out]
    return one + [data.random_several(concepts - 1, rng) for _ in range(SEVERAL)]


def scene_latents(work: Path, vae: AutoencoderKL, scenes: list[data.Scene]) -> torch.Tensor:
    """[scenes, 64, 64] FLUX's tokens, of unit variance, in half precision. Kept in WORK/latents.pt."""
    path = work / "latents.pt"
    if not path.exists():
        drawings = data.Drawings(data.load(work)[0])
        parts = []
        for start in range(0, len(scenes), 256):
            pictures = torch.stack([data.compose(drawings, scene) for scene in scenes[start : start + 256]])
            latents = (encode_all(vae, pictures) - vae.config.shift_factor) * vae.config.scaling_factor
            parts.append(teacher.pack(latents).half())
        torch.save(torch.cat(parts), path)
    return torch.load(path, weights_only=True)


def random_rows(scenes: int) -> torch.Tensor:
    """Scenes of one thing stand before the others."""
    one = torch.randint(0, scenes - SEVERAL, (BATCH,))
    several = torch.randint(scenes - SEVERAL, scenes, (BATCH,))
    return torch.where(torch.rand(BATCH) < ONE_THING, one, several)


def random_sigmas(count: int) -> torch.Tensor:
    smooth = torch.sigmoid(torch.randn(count) + 0.6)
    visited = FOUR_STEPS[torch.randint(0, len(FOUR_STEPS), (count,))]
    return torch.where(torch.rand(count) < 0.6, visited, smooth)


@dataclass
class Noisy:
    """What the transformer is shown, [pictures, 64, 64] at noise levels [pictures], and the velocity that it is to tell."""

    tokens: torch.Tensor
    sigma: torch.Tensor
    velocity: torch.Tensor
    weight: torch.Tensor


def noised(clean: torch.Tensor) -> Noisy:
    noise, sigma = torch.randn_like(clean), random_sigmas(len(clean))
    return Noisy(torch.lerp(clean, noise, sigma[:, None, None]), sigma, noise - clean, torch.ones(len(clean)))


@torch.no_grad()
def begun(transformer, clean: torch.Tensor, embeds: torch.Tensor, pooled: torch.Tensor) -> Noisy:
    """Pictures after one to three of four Euler steps from noise, weighted by the error of the picture.

    A caption tells all of its picture, so the right velocity leads from wherever the transformer has come to that picture.
    """
    tokens, steps = torch.randn_like(clean), torch.randint(1, 4, (len(clean),))
    with half_precision():
        for step in range(3):
            going = steps > step
            sigma = torch.full((int(going.sum()),), 1 - step / 4)
            tokens[going] -= teacher.velocity(transformer, tokens[going], sigma, embeds[going], pooled[going]).float() / 4
    sigma = 1 - steps / 4
    return Noisy(tokens, sigma, (tokens - clean) / sigma[:, None, None], 2 * sigma.square())


def training_input(transformer, clean: torch.Tensor, embeds: torch.Tensor, pooled: torch.Tensor, step: int) -> Noisy:
    if step < OWN_FROM:
        return noised(clean)
    half = len(clean) // 2  # rows are in no order
    one, other = noised(clean[:half]), begun(transformer, clean[half:], embeds[half:], pooled[half:])
    return Noisy(*(torch.cat([getattr(one, field.name), getattr(other, field.name)]) for field in fields(Noisy)))


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    first_or_last = name in ("proj_out.weight", "x_embedder.weight")
    modulation = "norm" in name and name.endswith("linear.weight")  # a fifth of the weights, all from one vector
    return parameter.ndim == 2 and not first_or_last and not modulation


@torch.no_grad()
def draw(transformer, vae, texts: teacher.Texts, concepts, scenes: list[data.Scene], seed: int) -> torch.Tensor:
    embeds, pooled = texts.of([captions.canonical(concepts, scene) for scene in scenes])
    with half_precision():
        return teacher.decode(vae, teacher.sample(transformer, embeds, pooled, seed=seed))


def report(transformer, vae, reader: Reader, texts: teacher.Texts, work: Path, count: int = 64) -> str:
    rng, facts, sheet = random.Random(7), [], []
    concepts = len(reader.concepts)
    groups = {
        "one": one_thing(concepts, count, 7), "one, seen": one_thing(concepts, count, 7, held_out=False),
        "several": [data.random_several(concepts - 1, rng, held_out=True) for _ in range(count)],
    }  # fmt: skip
    for name, scenes in groups.items():
        made, real = draw(transformer, vae, texts, reader.concepts, scenes, seed=7), reader.of(scenes)
        facts.append(f"{name}: {reader.accuracy(made, scenes)} psnr {psnr(made, real):.2f}")
        sheet.append(torch.stack([real, made], 1)[: count // 4].flatten(0, 1))
    data.save_grid(torch.cat(sheet), 16, work / "out/flux.png")
    return "; ".join(facts)


def main() -> None:
    args = stage_arguments(__doc__, steps=8000).parse_args()
    seed_everything(args.seed)
    reader = Reader(args.work)
    vae = AutoencoderKL.from_pretrained(args.work / "vae").eval().to(memory_format=torch.channels_last)
    scenes = training_scenes(len(reader.concepts))
    latents = scene_latents(args.work, vae, scenes)
    texts = teacher.Texts.load(args.work / "flux")
    embeds, pooled = texts.of([captions.canonical(reader.concepts, scene) for scene in scenes])

    transformer = teacher.build_transformer()
    optimizer = MuonAdamW(*split_parameters(transformer.named_parameters(), is_matrix), MUON_LR, ADAM_LR)
    average = MovingAverage({"transformer": transformer}, decay=0.997)
    checkpoint = Checkpoint(args.work, "flux", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"transformer {parameter_count(transformer)}", flush=True)
    smoothed = None
    for step in range(first, args.steps):
        rows = random_rows(len(scenes))
        clean = latents[rows].float()
        shown = training_input(transformer, clean, embeds[rows], pooled[rows], step)
        with half_precision():
            predicted = teacher.velocity(transformer, shown.tokens, shown.sigma, embeds[rows], pooled[rows])
        loss = ((predicted.float() - shown.velocity).square().mean((1, 2)) * shown.weight).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(one_over_step(step, args.steps))
        average.update(step)
        smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {smoothed:.4f} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            average["transformer"].save_pretrained(args.work / "flux/transformer")
            checkpoint.save(step + 1)
            print(report(average["transformer"], vae, reader, texts, args.work), flush=True)


if __name__ == "__main__":
    main()
