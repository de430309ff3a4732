"""Stage 4b: AlignNet for the model that sees and hears, on ENGLISH captions only, taught by the text model's AlignNet.

    python align_senses.py --work WORK

reads WORK/{text,relay,senses}.pt, WORK/flux and WORK/vae (restore.py) and writes WORK/senses-proj. Both language models
answer with the same canonical caption, token for token, so the new AlignNet can be told for every token what the old
one made of it: no picture needs to be drawn to learn, and the teacher is not needed again. It starts as the old one
with nothing in the new channels.
"""

import random

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
from train_mllm import build as build_text_model
from train_mllm import make_batch, states_of
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

BATCH = 32
MUON_LR, ADAM_LR = 3e-3, 1e-3


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
    scale, wide = states.square().mean((0, 2, 3)).sqrt(), states.shape[-1]
    layers, narrow = old.config["in_channels"], old.config["input_dim"]
    new = AlignNet(layers, wide, teacher.JOINT_WIDTH, teacher.POOLED_WIDTH, scale)
    weights = old.state_dict()
    first, norm = new.mlp.projector[0].weight, new.mlp.layernorm
    first.zero_()
    first[:, :narrow] = weights.pop("mlp.projector.0.weight")
    norm.weight[:narrow], norm.bias[:narrow] = weights.pop("mlp.layernorm.weight"), weights.pop("mlp.layernorm.bias")
    weights["conv.weight"] = weights["conv.weight"] * new.layer_scale
    new.load_state_dict(weights, strict=False)
    return new


def batches(tokens, concepts: list[dict]):
    """(prompts, answers) in English for ever, all answers of a batch of one length."""
    by_length: dict[int, list[data.Scene]] = {}
    for scene in data.all_scenes(len(concepts)):
        if not scene.held_out:
            by_length.setdefault(len(tokens(captions.canonical(concepts, scene))["input_ids"]), []).append(scene)
    buckets = list(by_length.values())
    while True:
        bucket = random.choices(buckets, [len(scenes) for scenes in buckets])[0]
        scenes = random.choices(bucket, k=BATCH)
        prompts = [captions.training_caption(concepts, scene, "en") for scene in scenes]
        yield prompts, [captions.canonical(concepts, scene) for scene in scenes]


@torch.no_grad()
def pictures_accuracy(conditioning, concepts, real, transformer, vae, count: int) -> teacher.Accuracy:
    """Of pictures drawn from English captions, half of whose scenes are held out; the answers are taken as right."""
    wanted = real.half_unseen(count, seed=11)
    rng, drawn = random.Random(11), []
    for number, scene in enumerate(wanted):
        prompt = captions.scoring_caption(concepts, scene, "en", rng)
        pooled, embeds = conditioning([prompt], [captions.canonical(concepts, scene)])
        drawn.append(teacher.sample(transformer, embeds, pooled, seed=number))
    return real.accuracy(teacher.decode(vae, torch.cat(drawn)), wanted)


def main() -> None:
    parser = stage_arguments(__doc__, steps=600)
    parser.add_argument("--weights", default="senses.pt", help="the language model's, in WORK")
    parser.add_argument("--score-count", type=int, default=48, help="pictures in the last report")
    args = parser.parse_args()
    seed_everything(args.seed)
    concepts = data.load(args.work)[2]
    relay, student = Relay(args.work, concepts), Student(args.work, concepts, args.weights)
    source = batches(relay.tokens, concepts)
    align_net = widened(relay.align_net, student.states(*next(source)))
    optimizer = MuonAdamW(*split_parameters(align_net.named_parameters(), lambda _, p: p.ndim == 2), MUON_LR, ADAM_LR)
    average = MovingAverage({"align_net": align_net}, decay=0.98)
    checkpoint = Checkpoint(args.work, "align-senses", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"align net {parameter_count(align_net)}", flush=True)
    for step in range(first, args.steps):
        prompts, answers = next(source)
        pooled, embeds = relay.conditioning(prompts, answers)
        my_pooled, my_embeds = align_net(student.states(prompts, answers))
        losses = relative_error(my_embeds, embeds), relative_error(my_pooled, pooled)
        optimizer.zero_grad()
        sum(losses).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            average["align_net"].save(args.work / "senses-proj")
            checkpoint.save(step + 1)
            facts = f"embeds {losses[0].item():.4f} pooled {losses[1].item():.4f}"
            print(f"step {step + 1} {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
    real = teacher.RealPictures(args.work)
    transformer = FluxTransformer2DModel.from_pretrained(args.work / "flux/transformer").eval()
    vae = AutoencoderKL.from_pretrained(args.work / "vae").eval()
    draw = lambda make: pictures_accuracy(make, concepts, real, transformer, vae, args.score_count)  # noqa: E731
    mine = lambda *texts: average["align_net"](student.states(*texts))  # noqa: E731
    print(f"concept/style/background: relay {draw(relay.conditioning)}, ours {draw(mine)}", flush=True)


if __name__ == "__main__":
    main()
