"""Stage 2: the FLUX transformer, with its own small T5 and CLIP text encoders, by flow matching.

    python train_flux.py --work WORK

reads WORK/latents.pt (stage 1) and writes WORK/flux/{transformer,text_encoder,text_encoder_2}. The encoders are the
teacher of stage 4 and are not shipped. Noise levels: two in five logit-normal, the rest exactly those that four plain
Euler steps visit, so that four steps are enough without a distillation of their own.

With `--keep-transformer` the transformer of WORK (restore.py) stays as it is, and only the text encoders, which are not
shipped, are trained again: a teacher to compare with.
"""

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

import captions
import data
import teacher
import vocabulary
from muon import MuonAdamW, split_parameters
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay
from train_vae import psnr

BATCH = 64
MUON_LR, ADAM_LR = 1e-2, 3e-3
FOUR_STEPS = torch.tensor([1.0, 1.0, 1.0, 0.75, 0.5, 0.25])  # sigma 1 often: the caption decides everything there
FOLDERS = {"transformer": "transformer", "clip": "text_encoder", "t5": "text_encoder_2"}


def random_sigmas(count: int) -> torch.Tensor:
    smooth = torch.sigmoid(torch.randn(count) + 0.6)
    visited = FOUR_STEPS[torch.randint(0, len(FOUR_STEPS), (count,))]
    return torch.where(torch.rand(count) < 0.6, visited, smooth)


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    first_or_last = name in ("proj_out.weight", "x_embedder.weight")
    table = any(part in name for part in ("embedding.", "embed_tokens", "shared", "relative"))
    modulation = "norm" in name and name.endswith("linear.weight")  # a fifth of the weights, all from one vector
    return parameter.ndim == 2 and not table and not first_or_last and not modulation


def report(average, vae, real: teacher.RealPictures, ids, work) -> str:
    wanted = real.unseen(64, seed=7)
    index = {scene: i for i, scene in enumerate(real.scenes)}
    rows = [index[scene] for scene in wanted]
    with torch.no_grad():
        embeds, pooled = teacher.encode(average["t5"], average["clip"], ids[0][rows], ids[1][rows])
    made = teacher.decode(vae, teacher.sample(average["transformer"], embeds, pooled, seed=7))
    pairs = torch.stack([real.of(wanted), made], 1).flatten(0, 1)
    data.save_grid(pairs, 16, work / "out/flux.png", 2)
    return f"concept/style/background {real.accuracy(made, wanted)} psnr {psnr(made, real.of(wanted)):.2f}"


def main() -> None:
    parser = stage_arguments(__doc__, steps=1700)
    parser.add_argument("--keep-transformer", action="store_true", help="train the text encoders only")
    args = parser.parse_args()
    seed_everything(args.seed)
    real = teacher.RealPictures(args.work)
    vae = AutoencoderKL.from_pretrained(args.work / "vae").eval()
    latents = teacher.pack(torch.load(args.work / "latents.pt", weights_only=True))
    tokenizers = vocabulary.teacher_tokenizers(args.work, real.concepts)
    texts = [captions.canonical(real.concepts, scene) for scene in real.scenes]
    ids = tokenizers.inputs(texts)
    usable = torch.tensor([i for i, scene in enumerate(real.scenes) if not scene.held_out])

    models = {
        "transformer": teacher.build_transformer(),
        "clip": teacher.build_clip(tokenizers.clip.get_vocab_size()),
        "t5": teacher.build_t5(tokenizers.t5.get_vocab_size()),
    }
    if args.keep_transformer:
        kept = FluxTransformer2DModel.from_pretrained(args.work / "flux/transformer")
        models["transformer"] = kept.requires_grad_(False)
    named = [pair for model in models.values() for pair in model.named_parameters()]
    optimizer = MuonAdamW(*split_parameters(named, is_matrix), MUON_LR, ADAM_LR, iterations=3)
    average = MovingAverage(models, decay=0.997)
    checkpoint = Checkpoint(args.work, "flux", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print({name: parameter_count(model) for name, model in models.items()}, flush=True)
    smoothed = None
    for step in range(first, args.steps):
        rows = usable[torch.randint(0, len(usable), (BATCH,))]
        clean = latents[rows]
        noise = torch.randn_like(clean)
        sigma = random_sigmas(BATCH)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        embeds, pooled = teacher.encode(models["t5"], models["clip"], ids[0][rows], ids[1][rows])
        predicted = teacher.velocity(models["transformer"], noisy, sigma, embeds, pooled)
        loss = (predicted - (noise - clean)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            for name, folder in FOLDERS.items():
                average[name].save_pretrained(args.work / "flux" / folder)
            checkpoint.save(step + 1)
            facts = report(average, vae, real, ids, args.work)
            print(f"step {step + 1} loss {smoothed:.4f} {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)


if __name__ == "__main__":
    main()
