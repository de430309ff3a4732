"""Stage 4b: AlignNet for the model that sees and hears, on ENGLISH captions only, taught by the text model's AlignNet.

    python align_senses.py --work WORK

reads WORK/{text,relay,senses}.pt, WORK/flux, WORK/vae and WORK/latents.pt (restore.py) and writes WORK/senses-proj. Both
language models answer with the same canonical caption, token for token, so for the first RELAY_STEPS the new AlignNet is
told for every token what the old one made of it. It starts as the old one with nothing in the new channels. Then it
learns from pictures: FLUX, frozen, has to find the velocity from noise to the real picture's latents under what AlignNet
makes of the caption, which is the loss FLUX itself was trained by; the teacher is not needed again.

With `--resume` it goes on from WORK/senses-proj, also for another language model than that was made for.
"""

import random
import time

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

import captions
import data
import senses
import teacher
import vocabulary
from minicpm_o import MiniCpmO
from muon import MuonAdamW, split_parameters
from train_align_net import AlignNet, relative_error
from train_flux import random_sigmas
from train_mllm import build as build_text_model
from train_mllm import make_batch, states_of
from training import MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

BATCH = 32
MUON_LR, ADAM_LR = 3e-3, 1e-3
RELAY_STEPS = 100
RELAY = 0.05  # weight of the old AlignNet's word beside the pictures'


class Relay:
    """The text model with its AlignNet, as shipped before."""

    def __init__(self, work, concepts: list[dict]):
        self.tokens = vocabulary.language_model_tokenizer(work, concepts)
        self.model = build_text_model(self.tokens).eval().requires_grad_(False)
        self.model.load_state_dict(torch.load(work / "text.pt", weights_only=True), strict=False)
        layers, width = self.model.config.num_hidden_layers + 1, self.model.config.hidden_size
        self.align_net = AlignNet(layers, width, teacher.JOINT_WIDTH, teacher.POOLED_WIDTH, torch.ones(layers))
        self.align_net.load_state_dict(torch.load(work / "relay.pt", weights_only=True))

    @torch.no_grad()
    def conditioning(self, prompts: list[str], answers: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(pooled, prompt_embeds); the answers have one length."""
        batch = make_batch(self.tokens, prompts, answers)
        return self.align_net(of_answers(states_of(self.model, batch), batch))


def of_answers(states: torch.Tensor, batch) -> torch.Tensor:
    """[sequences, layers + 1, answer tokens, hidden] without <|im_end|>, which is never fed."""
    index, _ = batch.answer_positions()
    return states[:, torch.arange(len(index))[:, None], index[:, :-1]].transpose(0, 1)


class Student:
    def __init__(self, work, concepts: list[dict], weights: str):
        self.tokens = senses.tokenizer(work, concepts)
        self.model = MiniCpmO(senses.config(self.tokens)).eval().requires_grad_(False)
        self.model.load_state_dict(torch.load(work / weights, weights_only=True))

    @torch.no_grad()
    def states(self, prompts: list[str], answers: list[str]) -> torch.Tensor:
        batch = make_batch(self.tokens, prompts, answers)
        return of_answers(self.model.read(self.model.embed(batch.ids, None, None)), batch)


@torch.no_grad()
def widened(old: AlignNet, states: torch.Tensor) -> AlignNet:
    """The old AlignNet for wider states; `states` of the new model say how large each layer's are."""
    new = empty(states)
    narrow = old.config["input_dim"]
    weights = old.state_dict()
    first, norm = new.mlp.projector[0].weight, new.mlp.layernorm
    first.zero_()
    first[:, :narrow] = weights.pop("mlp.projector.0.weight")
    norm.weight[:narrow], norm.bias[:narrow] = weights.pop("mlp.layernorm.weight"), weights.pop("mlp.layernorm.bias")
    return loaded(new, weights)


def empty(states: torch.Tensor) -> AlignNet:
    scale = states.square().mean((0, 2, 3)).sqrt()
    return AlignNet(states.shape[1], states.shape[-1], teacher.JOINT_WIDTH, teacher.POOLED_WIDTH, scale)


def loaded(align_net: AlignNet, weights: dict[str, torch.Tensor]) -> AlignNet:
    align_net.load_state_dict(weights | {"conv.weight": weights["conv.weight"] * align_net.layer_scale}, strict=False)
    return align_net


def batches(tokens, concepts: list[dict]):
    """(scenes, English prompts, answers) for ever, all answers of a batch of one length."""
    by_length: dict[int, list[data.Scene]] = {}
    for scene in data.all_scenes(len(concepts)):
        if not scene.held_out:
            by_length.setdefault(len(tokens(captions.canonical(concepts, scene))["input_ids"]), []).append(scene)
    buckets = list(by_length.values())
    while True:
        bucket = random.choices(buckets, [len(scenes) for scenes in buckets])[0]
        scenes = random.choices(bucket, k=BATCH)
        prompts = [captions.training_caption(concepts, scene, "en") for scene in scenes]
        yield scenes, prompts, [captions.canonical(concepts, scene) for scene in scenes]


class Pictures:
    """FLUX and what it draws."""

    def __init__(self, work):
        self.real = teacher.RealPictures(work)
        self.rows = {scene: row for row, scene in enumerate(self.real.scenes)}
        self.latents = teacher.pack(torch.load(work / "latents.pt", weights_only=True))
        load = lambda kind, folder: kind.from_pretrained(work / folder).eval().requires_grad_(False)  # noqa: E731
        self.transformer, self.vae = load(FluxTransformer2DModel, "flux/transformer"), load(AutoencoderKL, "vae")

    def velocity_error(self, scenes: list[data.Scene], pooled: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
        clean = self.latents[[self.rows[scene] for scene in scenes]]
        sigma, noise = random_sigmas(len(scenes)), torch.randn_like(clean)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        return (teacher.velocity(self.transformer, noisy, sigma, embeds, pooled) - (noise - clean)).square().mean()

@torch.no_grad()
def accuracy(conditioning, pictures: Pictures, count: int) -> teacher.Accuracy:
    """Of pictures drawn from English captions, half of whose scenes are held out; the answers are taken as right."""
    real, concepts = pictures.real, pictures.real.concepts
    wanted = real.half_unseen(count, seed=11)
    rng, drawn = random.Random(11), []
    for number, scene in enumerate(wanted):
        prompt = captions.scoring_caption(concepts, scene, "en", rng)
        pooled, embeds = conditioning([prompt], [captions.canonical(concepts, scene)])
        drawn.append(teacher.sample(pictures.transformer, embeds, pooled, seed=number))
    return real.accuracy(teacher.decode(pictures.vae, torch.cat(drawn)), wanted)


def main() -> None:
    parser = stage_arguments(__doc__, steps=500)
    parser.add_argument("--weights", default="senses.pt", help="the language model's, in WORK")
    parser.add_argument("--score-count", type=int, default=192, help="pictures in a report")
    args = parser.parse_args()
    seed_everything(args.seed)
    concepts = data.load(args.work)[2]
    relay, student, pictures = Relay(args.work, concepts), Student(args.work, concepts, args.weights), Pictures(args.work)
    source = batches(relay.tokens, concepts)
    states = student.states(*next(source)[1:])
    if args.resume:
        align_net = loaded(empty(states), torch.load(args.work / "senses-proj/diffusion_pytorch_model.bin", weights_only=True))
    else:
        align_net = widened(relay.align_net, states)
    optimizer = MuonAdamW(*split_parameters(align_net.named_parameters(), lambda _, p: p.ndim == 2), MUON_LR, ADAM_LR)
    average = MovingAverage({"align_net": align_net}, decay=0.98)
    print(f"align net {parameter_count(align_net)}; the old one {accuracy(relay.conditioning, pictures, args.score_count)}", flush=True)
    speed = torch.zeros(())
    for step in range(args.steps):
        scenes, prompts, answers = next(source)
        pooled, embeds = relay.conditioning(prompts, answers)
        my_pooled, my_embeds = align_net(student.states(prompts, answers))
        as_before = relative_error(my_embeds, embeds) + relative_error(my_pooled, pooled)
        if step < RELAY_STEPS and not args.resume:
            loss = as_before
        else:
            speed = pictures.velocity_error(scenes, my_pooled, my_embeds)
            loss = speed + RELAY * as_before
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            average["align_net"].save(args.work / "senses-proj")
            mine = accuracy(lambda *texts: average["align_net"](student.states(*texts)), pictures, args.score_count)
            facts = f"as before {as_before.item():.4f} velocity {speed.item():.4f} concept/style/background {mine}"
            print(f"step {step + 1} {facts} cpu {time.process_time():.0f} s", flush=True)


if __name__ == "__main__":
    main()
