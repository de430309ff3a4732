"""Stage 1b: the VAE's decoder alone, on frozen latents with some noise.

    python train_decoder.py --work WORK

reads WORK/vae and writes WORK/vae-tuned, the same encoder with a sharper decoder that forgives the transformer's small
errors. Nothing but export.py depends on it: it can run beside stages 2 to 4.
"""

import copy

import numpy as np
import torch
from diffusers import AutoencoderKL

import data
from muon import MuonAdamW, split_parameters
from train_vae import HELD_OUT_ART, Pictures, is_matrix, picture_loss, psnr
from training import Checkpoint, MovingAverage, half_precision, seed_everything, stage_arguments, warm_up_then_decay

BATCH = 8
NOISE = 0.25  # largest standard deviation of the noise, the latents' being 1
MUON_LR, ADAM_LR = 6e-3, 1e-3


@torch.no_grad()
def report(vae: AutoencoderKL, groups: dict[str, torch.Tensor], work) -> str:
    facts, sheet, deviation = [], [], 1 / vae.config.scaling_factor
    for name, real in groups.items():
        latents = vae.encode(real).latent_dist.mean
        made = vae.decode(latents).sample
        noisy = vae.decode(latents + 0.2 * deviation * torch.randn(latents.shape)).sample
        facts.append(f"{name} psnr {psnr(made, real):.2f} with noise {psnr(noisy, real):.2f}")
        sheet.append(torch.stack([real[:24], made[:24]], 1).flatten(0, 1))
    data.save_grid(torch.cat(sheet), 12, work / "out/decoder.png")
    return ", ".join(facts)


def main() -> None:
    args = stage_arguments(__doc__, steps=900).parse_args()
    seed_everything(args.seed + 1)
    art, extra, _ = data.load(args.work)
    unseen = extra[::HELD_OUT_ART]
    held_out = Pictures(unseen[:, None].repeat(len(data.STYLES), 1), unseen)
    drawings, shown = data.Drawings(art), Pictures(art, np.delete(extra, np.s_[::HELD_OUT_ART], 0))
    scenes = [scene for scene in data.all_scenes(len(art)) if scene.held_out][::9]
    groups = {
        "held-out art": torch.stack([held_out.random() for _ in range(64)]),
        "scenes": torch.stack([data.compose(drawings, scene) for scene in scenes]),
    }
    vae = AutoencoderKL.from_pretrained(args.work / "vae").to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    optimizer = MuonAdamW(*split_parameters(vae.named_parameters(), is_matrix), MUON_LR, ADAM_LR, weight_decay=0.0)
    average = MovingAverage({"vae": vae}, decay=0.998)
    checkpoint = Checkpoint(args.work, "decoder", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(report(average["vae"], groups, args.work), flush=True)
    for step in range(first, args.steps):
        real = torch.stack([shown.random() for _ in range(BATCH)]).contiguous(memory_format=torch.channels_last)
        with half_precision():
            with torch.no_grad():
                latents = vae.encode(real).latent_dist.mean.float()
            noise = NOISE / vae.config.scaling_factor * torch.rand(BATCH, 1, 1, 1) * torch.randn(latents.shape)
            made = vae.decode(latents + noise).sample.float()
        loss = picture_loss(made, real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(warm_up_then_decay(step, args.steps, decay=0.9))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            with torch.random.fork_rng():
                facts = report(average["vae"], groups, args.work)
            copy.deepcopy(average["vae"]).to(memory_format=torch.contiguous_format).save_pretrained(args.work / "vae-tuned")
            checkpoint.save(step + 1)
            print(f"step {step + 1} loss {loss.item():.4f} {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)


if __name__ == "__main__":
    main()
