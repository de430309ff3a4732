"""Stage 1: the AutoencoderKL, in FLUX's form (16 latent channels, no quantization convolutions), 8 times down.

    python train_vae.py --work WORK

reads WORK/art.npz and writes WORK/vae (diffusers layout), with the scale and shift that make the latents of the real
pictures zero-mean and unit-variance. Loss: L1 + L2 + half the L1 of the picture's gradients + a slight KL. A tenth of the
emoji that are no concepts is never shown: the reports are of pictures of those. Measured: see README.md.
"""

import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

import data
from muon import MuonAdamW, split_parameters
from training import (
    Checkpoint, MovingAverage, half_precision, parameter_count, seed_everything, stage_arguments, warm_up_then_decay,
)  # fmt: skip

CHANNELS = (24, 48, 64, 64)
BATCH = 8
MUON_LR, ADAM_LR = 1e-2, 2e-3
KL_WEIGHT = 1e-3
ONE = 0.6  # share of pictures of one drawing
SIZES = (92, 100, data.DRAWING, data.DRAWING, data.DRAWING, 116)
SMALL_SIZES = (50, 54, data.SMALL_DRAWING, data.SMALL_DRAWING, 60)
HELD_OUT_ART = 10  # one in so many of the other emoji's drawings is kept to measure with


def build() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=16, block_out_channels=CHANNELS, layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, norm_num_groups=8,
        sample_size=data.PICTURE, scaling_factor=1.0, shift_factor=0.0,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Muon's share: all but the convolutions at the two ends, which see or make pixels and latents."""
    return parameter.ndim in (2, 4) and "conv_in" not in name and not name.endswith("decoder.conv_out.weight")


def random_colour(rng=random) -> tuple:
    """One with a name, three times in five."""
    if rng.random() < 0.6:
        return rng.choice(list(data.COLOURS.values()))
    return tuple(rng.randrange(256) for _ in range(3))


class Pictures:
    """Random pictures of any drawings: one of about the transformer's size, or several small ones."""

    def __init__(self, art, extra):
        self.art, self.extra = data.Drawings(art), data.Drawings(extra)
        self.concepts, self.others = len(art), len(extra)

    def any_drawing(self, size: int) -> torch.Tensor:
        if random.random() < 0.6:
            return self.art.at((random.randrange(self.concepts), random.randrange(len(data.STYLES))), size)
        return self.extra.at((random.randrange(self.others),), size)

    def random(self) -> torch.Tensor:
        """[3, PICTURE, PICTURE] in -1..1"""
        picture = data.flat(random_colour())
        if random.random() < ONE:
            self.place(picture, random.choice(SIZES), data.PICTURE, (0, 0))
        else:
            for cell in random.choice(data.SEVERAL).cells:
                self.place(picture, random.choice(SMALL_SIZES), data.CELL, cell)
        return picture * 2 - 1

    def place(self, picture: torch.Tensor, size: int, cell: int, corner: tuple[int, int]) -> None:
        room = (cell - size) // 2
        off = [random.randint(-min(3, room), min(3, room)) for _ in range(2)]
        data.put(picture, self.any_drawing(size), corner[0] + room + off[0], corner[1] + room + off[1])


def picture_loss(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """L1 + L2 + half the L1 of horizontal and vertical differences: sharp edges count twice."""
    error = made - real
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + error.square().mean() + 0.5 * (across + down)


def psnr(made: torch.Tensor, real: torch.Tensor) -> float:
    """Decibels over pictures in -1..1, mean of the pictures' own."""
    return (10 * torch.log10(4 / (made.clamp(-1, 1) - real).square().mean((1, 2, 3)))).mean().item()


@torch.no_grad()
def encode_all(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Latent means [pictures, 16, 16, 16], before scale and shift."""
    with half_precision():
        means = [vae.encode(chunk.contiguous(memory_format=torch.channels_last)).latent_dist.mean for chunk in pictures.split(32)]
    return torch.cat(means).float()


@torch.no_grad()
def report(vae, real: torch.Tensor, sheet: Path) -> str:
    latents = encode_all(vae, real)
    made = vae.decode(latents).sample
    noisy = vae.decode(latents + 0.2 * latents.std() * torch.randn(latents.shape)).sample
    data.save_grid(torch.cat([real[:12], made[:12]]), 12, sheet)
    return f"psnr {psnr(made, real):.2f} with noise {psnr(noisy, real):.2f}"


def main() -> None:
    parser = stage_arguments(__doc__, steps=1500)
    args = parser.parse_args()
    seed_everything(args.seed)
    art, extra, _ = data.load(args.work)
    unseen = extra[::HELD_OUT_ART]
    held_out = Pictures(unseen[:, None].repeat(len(data.STYLES), 1), unseen)
    test = torch.stack([held_out.random() for _ in range(64)])
    shown = Pictures(art, np.delete(extra, np.s_[::HELD_OUT_ART], 0))
    vae = build().to(memory_format=torch.channels_last)
    optimizer = MuonAdamW(*split_parameters(vae.named_parameters(), is_matrix), MUON_LR, ADAM_LR, weight_decay=0.0)
    average = MovingAverage({"vae": vae}, decay=0.998)
    checkpoint = Checkpoint(args.work, "vae", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"vae {parameter_count(vae)}", flush=True)
    for step in range(first, args.steps):
        real = torch.stack([shown.random() for _ in range(BATCH)]).contiguous(memory_format=torch.channels_last)
        with half_precision():
            posterior = vae.encode(real).latent_dist
            made = vae.decode(posterior.sample()).sample.float()
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).float().mean()
        loss = picture_loss(made, real) + KL_WEIGHT * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(warm_up_then_decay(step, args.steps, warm_up=100, decay=0.8))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            with torch.random.fork_rng():
                facts = report(average["vae"], test, args.work / "out/vae.png")
            checkpoint.save(step + 1)
            print(f"step {step + 1} loss {loss.item():.4f} held-out art {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
    finish(average["vae"], art, args.work)


def finish(vae: AutoencoderKL, art, work: Path) -> None:
    """Scale and shift: from the real pictures of one thing and of several."""
    drawings, rng = data.Drawings(art), random.Random(0)
    scenes = rng.sample(data.all_scenes(len(art)), 1000) + [data.random_several(len(art) - 1, rng) for _ in range(1000)]
    latents = encode_all(vae, torch.stack([data.compose(drawings, scene) for scene in scenes]))
    vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))
    vae.to(memory_format=torch.contiguous_format).save_pretrained(work / "vae")


if __name__ == "__main__":
    main()
