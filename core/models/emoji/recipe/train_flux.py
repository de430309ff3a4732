"""Stage 2: the FLUX transformer, with its own small T5 and CLIP text encoders, by flow matching.

    python train_flux.py --work WORK

reads WORK/vae (stage 1) and writes WORK/latents.pt, the latents of every scene of one thing and of some thousands of
several, and WORK/flux/{transformer,text_encoder,text_encoder_2}. The encoders are the teacher of stage 4 and are not
shipped. Noise levels: two in five logit-normal, the rest exactly those that four plain Euler steps visit, so that four
steps are enough without a distillation of their own.
"""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL

import captions
import data
import teacher
import vocabulary
from muon import MuonAdamW, split_parameters
from reading import Reader, one_thing
from training import (
    Checkpoint, MovingAverage, half_precision, parameter_count, seed_everything, stage_arguments, warm_up_then_decay,
)  # fmt: skip
from train_vae import encode_all, psnr

BATCH = 64
SEVERAL = 12_000  # scenes of several things
ONE_THING = 0.62  # share of a batch: large drawings have four times the tokens, and every small one is in many scenes
MUON_LR, ADAM_LR = 3e-3, 1e-3
FOUR_STEPS = torch.tensor([1.0, 1.0, 1.0, 0.75, 0.5, 0.25])  # sigma 1 often: the caption decides everything there
FOLDERS = {"transformer": "transformer", "clip": "text_encoder", "t5": "text_encoder_2"}


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


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    first_or_last = name in ("proj_out.weight", "x_embedder.weight")
    table = any(part in name for part in ("embedding.", "embed_tokens", "shared", "relative"))
    modulation = "norm" in name and name.endswith("linear.weight")  # a fifth of the weights, all from one vector
    return parameter.ndim == 2 and not table and not first_or_last and not modulation


@torch.no_grad()
def draw(average, vae, tokenizers, concepts, scenes: list[data.Scene], seed: int) -> torch.Tensor:
    with half_precision():
        ids = tokenizers.inputs([captions.canonical(concepts, scene) for scene in scenes])
        embeds, pooled = teacher.encode(average["t5"], average["clip"], *ids)
        return teacher.decode(vae, teacher.sample(average["transformer"], embeds, pooled, seed=seed))


def report(average, vae, reader: Reader, tokenizers, work: Path, count: int = 64) -> str:
    rng, facts, sheet = random.Random(7), [], []
    concepts = len(reader.concepts)
    groups = {
        "one": one_thing(concepts, count, 7), "one, seen": one_thing(concepts, count, 7, held_out=False),
        "several": [data.random_several(concepts - 1, rng, held_out=True) for _ in range(count)],
    }  # fmt: skip
    for name, scenes in groups.items():
        made, real = draw(average, vae, tokenizers, reader.concepts, scenes, seed=7), reader.of(scenes)
        facts.append(f"{name}: {reader.accuracy(made, scenes)} psnr {psnr(made, real):.2f}")
        sheet.append(torch.stack([real, made], 1)[: count // 4].flatten(0, 1))
    data.save_grid(torch.cat(sheet), 16, work / "out/flux.png")
    return "; ".join(facts)


def main() -> None:
    args = stage_arguments(__doc__, steps=6000).parse_args()
    seed_everything(args.seed)
    reader = Reader(args.work)
    vae = AutoencoderKL.from_pretrained(args.work / "vae").eval().to(memory_format=torch.channels_last)
    scenes = training_scenes(len(reader.concepts))
    latents = scene_latents(args.work, vae, scenes)
    tokenizers = vocabulary.teacher_tokenizers(args.work, reader.concepts)
    ids = tokenizers.inputs([captions.canonical(reader.concepts, scene) for scene in scenes])

    models = {
        "transformer": teacher.build_transformer(),
        "clip": teacher.build_clip(tokenizers.clip.get_vocab_size()),
        "t5": teacher.build_t5(tokenizers.t5.get_vocab_size()),
    }
    named = [pair for model in models.values() for pair in model.named_parameters()]
    optimizer = MuonAdamW(*split_parameters(named, is_matrix), MUON_LR, ADAM_LR, iterations=3)
    average = MovingAverage(models, decay=0.997)
    checkpoint = Checkpoint(args.work, "flux", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print({name: parameter_count(model) for name, model in models.items()}, flush=True)
    smoothed = None
    for step in range(first, args.steps):
        rows = random_rows(len(scenes))
        clean = latents[rows].float()
        noise = torch.randn_like(clean)
        sigma = random_sigmas(BATCH)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        with half_precision():
            embeds, pooled = teacher.encode(models["t5"], models["clip"], ids[0][rows], ids[1][rows])
            predicted = teacher.velocity(models["transformer"], noisy, sigma, embeds, pooled)
        loss = (predicted.float() - (noise - clean)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {smoothed:.4f} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            for name, folder in FOLDERS.items():
                average[name].save_pretrained(args.work / "flux" / folder)
            checkpoint.save(step + 1)
            print(report(average, vae, reader, tokenizers, args.work), flush=True)


if __name__ == "__main__":
    main()
