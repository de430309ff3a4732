"""Stage 1: the AutoencoderKL, in FLUX's form (16 latent channels, no quantization convolutions), 8 times down.

    python train_vae.py --work WORK

reads WORK/art.npz and writes WORK/vae (diffusers layout), with the scale and shift that make the latents of the real
pictures zero-mean and unit-variance, and WORK/latents.pt, those latents. Loss: L1 + L2 + half the L1 of the picture's
gradients + a slight KL. Measured: see README.md.
"""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL

import data
from muon import MuonAdamW, split_parameters
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

CHANNELS = (16, 32, 64, 64)
BATCH = 8
MUON_LR, ADAM_LR = 1e-2, 2e-3
KL_WEIGHT = 1e-3
SIZES = (40, 46, 50, 54, 54, 58, 62)  # of the drawing in the picture: mostly the size used later


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


def random_picture(art, extra) -> torch.Tensor:
    if random.random() < 0.6:
        drawing = art[random.randrange(len(art)), random.randrange(len(data.STYLES))]
    else:
        drawing = extra[random.randrange(len(extra))]
    if random.random() < 0.6:
        colour = random.choice(list(data.COLOURS.values()))
    else:
        colour = tuple(random.randrange(256) for _ in range(3))
    size = random.choice(SIZES)
    room = min(2, (data.PICTURE - size) // 2)
    return data.compose(drawing, colour, size, random.randint(-room, room), random.randint(-room, room))


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
    """Latent means [pictures, 16, 8, 8], before scale and shift."""
    return torch.cat([vae.encode(chunk).latent_dist.mean for chunk in pictures.split(64)])


@torch.no_grad()
def report(vae, real: torch.Tensor, sheet: Path) -> str:
    latents = vae.encode(real).latent_dist.mean
    made = vae.decode(latents).sample
    noisy = vae.decode(latents + 0.2 * latents.std() * torch.randn(latents.shape)).sample
    data.save_grid(torch.cat([real[:16], made[:16]]), 16, sheet, 2)
    return f"psnr {psnr(made, real):.2f} with noise {psnr(noisy, real):.2f}"


def main() -> None:
    parser = stage_arguments(__doc__, steps=1600)
    args = parser.parse_args()
    seed_everything(args.seed)
    art, extra, _ = data.load(args.work)
    held_back = torch.stack([random_picture(art, extra) for _ in range(64)])
    vae = build()
    optimizer = MuonAdamW(*split_parameters(vae.named_parameters(), is_matrix), MUON_LR, ADAM_LR, weight_decay=0.0)
    average = MovingAverage({"vae": vae}, decay=0.998)
    checkpoint = Checkpoint(args.work, "vae", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"vae {parameter_count(vae)}", flush=True)
    for step in range(first, args.steps):
        real = torch.stack([random_picture(art, extra) for _ in range(BATCH)])
        posterior = vae.encode(real).latent_dist
        made = vae.decode(posterior.sample()).sample
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        loss = picture_loss(made, real) + KL_WEIGHT * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(warm_up_then_decay(step, args.steps, warm_up=100, decay=0.8))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            with torch.random.fork_rng():
                facts = report(average["vae"], held_back, args.work / "out/vae.png")
            checkpoint.save(step + 1)
            print(f"step {step + 1} loss {loss.item():.4f} {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
    finish(average["vae"], art, args.work)


def finish(vae: AutoencoderKL, art, work: Path) -> None:
    _, pictures = data.compose_all(art)
    latents = encode_all(vae, pictures)
    vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))
    vae.save_pretrained(work / "vae")
    torch.save((latents - vae.config.shift_factor) * vae.config.scaling_factor, work / "latents.pt")


if __name__ == "__main__":
    main()
