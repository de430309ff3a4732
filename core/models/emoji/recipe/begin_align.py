"""Stage 4a: AlignNet begins with what T5 and CLIP say.

    python begin_align.py --work WORK

reads WORK/settled.pt, WORK/align/train.jsonl and WORK/flux's encoders and writes WORK/align/begun, which `x2i train align` goes
on from. A regression, word by word: a word of the answer has its place in the language model's states and in T5's, so
AlignNet is taught T5's state of it, and of the mean of all words CLIP's pooled vector. The transformer tells what of that it
looks at; this is stage 4's.

AlignNet has one block of T5 before its convolution (X2I's `use_t5`): the language model is causal, so that its states of a thing do not know
the background that is named behind it, and T5's do.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Stack

import data
import teacher
import vocabulary
from muon import MuonAdamW, split_parameters
from train_mllm import build, make_batch, states_of
from training import (
    MovingAverage, half_precision, parameter_count, seed_everything, stage_arguments, warm_up_then_decay,
)  # fmt: skip

BATCH = 64
CAPTIONS = 12_000  # of train.jsonl, which is shuffled
MUON_LR, ADAM_LR = 4e-3, 1e-3
KERNEL, HEADS, HEAD_WIDTH, FEED_FORWARD, BLOCKS = 5, 4, 32, 512, 1
WORD = re.compile(r"\w+|[^\w\s]")


# ---- the network ---------------------------------------------------------------------------------


class Mlp(nn.Module):
    """Fields are the checkpoint's names."""

    def __init__(self, width: int, joint: int, pooled: int):
        super().__init__()
        self.layernorm = nn.LayerNorm(width, eps=1e-6)
        self.projector = nn.Sequential(nn.Linear(width, joint, bias=False), nn.GELU(), nn.Linear(joint, joint, bias=False))
        self.fc = nn.Sequential(nn.GELU(), nn.Linear(joint, pooled))

    def forward(self, x: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        txt = self.projector(self.layernorm(x))
        return txt, (self.fc(txt) * inside).sum(1) / inside.sum(1)


class AlignNet(nn.Module):
    """X2I's utils/proj.py, `Proj7Exp` with `use_t5` and `use_cnn`."""

    def __init__(self, layers: int, width: int):
        super().__init__()
        self.t5stack = T5Stack(T5Config(
            d_model=width, d_kv=HEAD_WIDTH, num_heads=HEADS, d_ff=FEED_FORWARD, num_layers=BLOCKS, feed_forward_proj="gated-gelu",
            dropout_rate=0.0, is_encoder_decoder=False, use_cache=False,
        ))  # fmt: skip
        self.conv = nn.Conv2d(layers, 1, KERNEL, padding=KERNEL // 2)
        self.mlp = Mlp(width, teacher.JOINT_WIDTH, teacher.POOLED_WIDTH)
        with torch.no_grad():  # the blocks give nothing yet, the convolution the sum of the first and the last layer
            for block in self.t5stack.block:
                block.layer[0].SelfAttention.o.weight.zero_()
                block.layer[1].DenseReluDense.wo.weight.zero_()
            self.conv.weight.mul_(0.1)
            self.conv.weight[0, [0, -1], KERNEL // 2, KERNEL // 2] += 1.0

    def forward(self, states: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(txt [batch, tokens, joint], pooled) of states [batch, layers, tokens, width], of which [batch, tokens, 1] are there."""
        batch, layers, tokens, width = states.shape
        mask = inside[:, None, :, 0].expand(batch, layers, tokens).reshape(batch * layers, tokens)
        with half_precision():
            read = self.t5stack(inputs_embeds=states.reshape(batch * layers, tokens, width), attention_mask=mask).last_hidden_state
        read = read.float().view(states.shape) * inside[:, None]  # beyond an answer's end there is nothing, as for a convolution
        return self.mlp(self.conv(read)[:, 0], inside)

    def save(self, folder: Path) -> None:
        layers, width = self.conv.in_channels, self.mlp.layernorm.weight.numel()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({
            "in_channels": layers, "kernel_size": KERNEL, "input_dim": width, "output_dim0": teacher.POOLED_WIDTH,
            "output_dim1": teacher.JOINT_WIDTH, "num_layers": BLOCKS, "num_heads": HEADS, "norm_eps": 1e-6, "head_dim": HEAD_WIDTH,
            "use_t5": True, "use_scale": False, "use_cnn": True,
        }, indent=2) + "\n")  # fmt: skip
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items() if "embed_tokens" not in name}
        save_file(weights, folder / "diffusion_pytorch_model.safetensors")


# ---- what it is taught ---------------------------------------------------------------------------


@dataclass
class Taught:
    """Answers with what they are to become."""

    states: torch.Tensor  # [answers, layers, tokens, width] in half precision, zeros behind an answer's end
    inside: torch.Tensor  # [answers, tokens, 1]: 1 where there is a token
    txt: torch.Tensor  # [answers, tokens, joint]: T5's state of the token's word
    pooled: torch.Tensor  # [answers, pooled]

    def __getitem__(self, rows: torch.Tensor) -> "Taught":
        return Taught(self.states[rows].float(), self.inside[rows], self.txt[rows], self.pooled[rows])


def word_of(text: str, offset: tuple[int, int]) -> int:
    """The number of the word that a token is a part of; tokens begin with a space."""
    start = offset[0] + (text[offset[0]] == " ")
    return max(0, sum(word.start() <= start for word in WORD.finditer(text)) - 1)


def places(answer: str, tokens: list[tuple[int, int]], painted: str, teachers: list[tuple[int, int]]) -> list[int]:
    """Of every token of the answer, T5's token of the same word.

    A strange word's answer has other words at its beginning than the caption of its picture: those all are its first one.
    """
    ahead = len(WORD.findall(answer)) - len(WORD.findall(painted))
    first: dict[int, int] = {}
    for place, offset in enumerate(teachers):
        first.setdefault(word_of(painted, offset), place)
    return [first[max(0, word_of(answer, offset) - ahead)] for offset in tokens]


@torch.no_grad()
def taught(work: Path, model, tokens, file: str, most: int) -> Taught:
    texts = teacher.Texts.load(work / "flux")
    lines = [json.loads(line) for line in (work / "align" / file).read_text().splitlines()[:most]]
    lines.sort(key=lambda line: len(line["answer"]))
    longest = max(len(tokens(line["answer"])["input_ids"]) for line in lines)
    parts = []
    for start in range(0, len(lines), 64):
        some = lines[start : start + 64]
        answers, painted = [line["answer"] for line in some], [line["painted"] for line in some]
        batch = make_batch(tokens, [vocabulary.turn(line["caption"]) for line in some], answers)
        with half_precision():
            states = states_of(model, batch)
        index, mask = batch.answer_positions()
        mask &= torch.arange(index.shape[1]) < batch.lengths[:, None] - 1  # without <|im_end|>, which is never fed
        said = states[:, torch.arange(len(some))[:, None], index].transpose(0, 1) * mask[:, None, :, None]
        embeds, pooled = texts.of(painted)
        txt = torch.zeros(*index.shape, embeds.shape[2])
        for row, (answer, caption) in enumerate(zip(answers, painted)):
            own = tokens(answer, return_offsets_mapping=True)["offset_mapping"]
            place = places(answer, own, caption, texts.tokenizers.t5.encode(caption).offsets)
            txt[row, : len(place)] = embeds[row, place]
        behind = (0, 0, 0, longest - index.shape[1] if index.shape[1] < longest else 0)
        cut = slice(0, longest)
        parts.append((F.pad(said, behind)[:, :, cut].half(), F.pad(mask[..., None].float(), behind)[:, cut], F.pad(txt, behind)[:, cut], pooled))
    return Taught(*(torch.cat(part) for part in zip(*parts)))


def errors(net: AlignNet, batch: Taught, usual: Taught) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared errors of words and of pooled vectors, of those of the `usual` ones."""
    txt, pooled = net(batch.states, batch.inside)
    words = ((txt - batch.txt).square() * batch.inside).sum() / ((usual.txt - batch.txt).square() * batch.inside).sum()
    return words, (pooled - batch.pooled).square().sum() / (usual.pooled - batch.pooled).square().sum()


def usual_of(everything: Taught) -> Taught:
    """The mean of all words, and of all pooled vectors."""
    mean = everything.txt.sum((0, 1)) / everything.inside.sum()
    return Taught(everything.states[:0], everything.inside[:0], mean, everything.pooled.mean(0))


def main() -> None:
    args = stage_arguments(__doc__, steps=1000).parse_args()
    seed_everything(args.seed)
    tokens = vocabulary.language_model_tokenizer(args.work, data.load(args.work)[2])
    model = build(tokens).eval()
    weights = torch.load(args.work / "settled.pt", weights_only=True)
    model.load_state_dict({name.removeprefix("llm."): tensor for name, tensor in weights.items() if name.startswith("llm.")})
    everything = taught(args.work, model, tokens, "train.jsonl", CAPTIONS)
    held_out = taught(args.work, model, tokens, "held-out.jsonl", CAPTIONS)
    usual = usual_of(everything)

    net = AlignNet(everything.states.shape[1], everything.states.shape[3])
    named = [(name, parameter) for name, parameter in net.named_parameters() if "embed_tokens" not in name]
    optimizer = MuonAdamW(*split_parameters(named, lambda name, p: p.ndim == 2 and "bias" not in name), MUON_LR, ADAM_LR)
    average = MovingAverage({"net": net}, decay=0.99)
    print(f"AlignNet {parameter_count(net)}, {len(everything.inside)} answers", flush=True)
    for step in range(args.steps):
        words, pooled = errors(net, everything[torch.randint(0, len(everything.inside), (BATCH,))], usual)
        optimizer.zero_grad()
        (words + pooled).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            average["net"].save(args.work / "align/begun")
            with torch.no_grad():
                told = errors(average["net"], held_out[torch.arange(len(held_out.inside))], usual)
            print(f"step {step + 1} words {words.item():.4f} pooled {pooled.item():.4f}, held out {told[0].item():.4f} {told[1].item():.4f}", flush=True)


if __name__ == "__main__":
    main()
