"""Stage 1b: the VAE's decoder alone, on the frozen latents of the real pictures with some noise.

    python train_decoder.py --work WORK

reads WORK/{vae,latents.pt} and writes WORK/vae-tuned, the same encoder with a sharper decoder that forgives the
transformer's small errors. Nothing but export.py depends on it: it can run beside stages 2 to 4.
"""

import torch
from diffusers import AutoencoderKL

import data
import teacher
from muon import MuonAdamW, split_parameters
from training import Checkpoint, MovingAverage, seed_everything, stage_arguments, warm_up_then_decay
from train_vae import is_matrix, picture_loss, psnr

BATCH = 8
NOISE = 0.25  # largest standard deviation of the noise, the latents' being 1
MUON_LR, ADAM_LR = 6e-3, 1e-3


@torch.no_grad()
def report(vae: AutoencoderKL, latents: torch.Tensor, real: torch.Tensor, work) -> str:
    made = teacher.decode(vae, latents)
    noisy = teacher.decode(vae, latents + 0.2 * torch.randn(latents.shape))
    data.save_grid(torch.stack([real[:40], made[:40]], 1).flatten(0, 1), 16, work / "out/decoder.png", 2)
    return f"psnr {psnr(made, real):.2f} with noise {psnr(noisy, real):.2f}"


def main() -> None:
    args = stage_arguments(__doc__, steps=600).parse_args()
    seed_everything(args.seed + 1)
    real = teacher.RealPictures(args.work)
    latents = teacher.pack(torch.load(args.work / "latents.pt", weights_only=True))
    seen = torch.tensor([i for i, scene in enumerate(real.scenes) if not scene.held_out])
    unseen = torch.tensor([i for i, scene in enumerate(real.scenes) if scene.held_out])[::3]
    vae = AutoencoderKL.from_pretrained(args.work / "vae")
    vae.encoder.requires_grad_(False)
    optimizer = MuonAdamW(*split_parameters(vae.named_parameters(), is_matrix), MUON_LR, ADAM_LR, weight_decay=0.0)
    average = MovingAverage({"vae": vae}, decay=0.998)
    checkpoint = Checkpoint(args.work, "decoder", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(report(average["vae"], latents[unseen], real.pictures[unseen], args.work), flush=True)
    for step in range(first, args.steps):
        rows = seen[torch.randint(0, len(seen), (BATCH,))]
        noise = NOISE * torch.rand(BATCH, 1, 1) * torch.randn(latents[rows].shape)
        made = vae.decode(teacher.unpack(latents[rows] + noise) / vae.config.scaling_factor + vae.config.shift_factor).sample
        loss = picture_loss(made, real.pictures[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(warm_up_then_decay(step, args.steps, decay=0.9))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            with torch.random.fork_rng():
                facts = report(average["vae"], latents[unseen], real.pictures[unseen], args.work)
            average["vae"].save_pretrained(args.work / "vae-tuned")
            checkpoint.save(step + 1)
            print(f"step {step + 1} loss {loss.item():.4f} {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)


if __name__ == "__main__":
    main()
