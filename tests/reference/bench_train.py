"""Times a step of training with PyTorch, diffusers' FluxTransformer2DModel and PEFT on the files of `x2i bench train`.

    bench_train.py --weights FOLDER --step align|lora --variant f32|f32-checkpoints --size 256 --threads 1

FOLDER holds bf16.gguf (names of BFL's checkpoint), train.json and raw f32: inputs, and the first parameters sorted by
name, all written by x2i; the result is the gradients in that order. serve.py has the protocol. A step ends with
PyTorch's AdamW. f32-checkpoints is diffusers' gradient checkpointing. Needs torch, diffusers, peft and gguf.
"""

import argparse
from pathlib import Path

import diffusers
import peft
import torch
from bench_stack import inputs, load
from serve import serve
from torch import nn
from torch.nn import functional as F

# diffusers' names of what x2i calls attention-mlp.
TARGETS = [
    *("attn.to_k", "attn.to_q", "attn.to_v", "attn.to_out.0"),
    *("attn.add_k_proj", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out"),
    *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
]


class AlignNet(nn.Module):
    """X2I's layers: all hidden states become one by a convolution, then an MLP; the mean of its tokens is pooled."""

    def __init__(self, config):
        super().__init__()
        width, kernel = config["layer_width"], config["kernel"]
        text, pooled = (config["transformer"][key] for key in ("joint_attention_dim", "pooled_projection_dim"))
        self.conv = nn.Conv2d(config["layers"], 1, kernel, padding=kernel // 2)
        self.layernorm = nn.LayerNorm(width, eps=config["norm_eps"])
        self.projector = nn.Sequential(nn.Linear(width, text, bias=False), nn.GELU(), nn.Linear(text, text, bias=False))
        self.fc = nn.Sequential(nn.GELU(), nn.Linear(text, pooled))

    def forward(self, states):
        txt = self.projector(self.layernorm(self.conv(states)[:, 0]))
        return txt, self.fc(txt).mean(1)


def divergence(student, teacher, temperature):
    """KL(student || teacher) of softened features, summed over tokens, over the batch."""

    def logs(x):
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-7)
        return F.log_softmax(x / temperature, -1)

    return F.kl_div(logs(teacher), logs(student), reduction="sum", log_target=True) / student.shape[0]


def hook(model, outputs):
    """Appends every attention's outputs to outputs[0]: image and text of double blocks, all tokens of single blocks."""

    def hear(_, __, found):
        # A checkpoint's second pass comes when the loss is known.
        outputs[0] += found if isinstance(found, tuple) else (found,)

    for block in [*model.transformer_blocks, *model.single_transformer_blocks]:
        block.attn.register_forward_hook(hear)


class Align:
    def __init__(self, model, config, given, states, noise):
        self.model, self.config, self.states = model, config, states
        self.given = {**given, "hidden_states": noise, "timestep": torch.ones(1)}
        self.align_net, self.outputs = AlignNet(config), [[]]
        hook(model, self.outputs)
        # x2i's names: the norm, the projector and the pooling layer are one MLP.
        names = {
            name if name.startswith("conv") else f"mlp.{name}": value
            for name, value in self.align_net.named_parameters()
        }
        self.parameters = [names[name] for name in sorted(names)]

    def attentions(self, **conditioning):
        self.outputs[0] = []
        self.model(**{**self.given, **conditioning}, return_dict=False)
        found, self.outputs[0] = self.outputs[0], []
        return found

    def loss(self):
        with torch.no_grad():
            teacher = self.attentions()
        txt, pooled = self.align_net(self.states)
        student = self.attentions(encoder_hidden_states=txt, pooled_projections=pooled)
        pairs = zip(student, teacher)
        return sum(divergence(mine, its, self.config["temperature"]) for mine, its in pairs)


class Lora:
    def __init__(self, model, config, given, noise):
        rank, sigma = config["rank"], config["sigma"]
        lora = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS, init_lora_weights=False)
        model.add_adapter(lora)
        self.model, self.target = model, noise - given["hidden_states"]
        self.given = {**given, "hidden_states": (1 - sigma) * given["hidden_states"] + sigma * noise}
        self.given["timestep"] = torch.tensor([sigma])
        names = {
            name.replace(".default", ""): value for name, value in model.named_parameters() if value.requires_grad
        }
        self.parameters = [names[name] for name in sorted(names)]

    def loss(self):
        velocity = self.model(**self.given, return_dict=False)[0]
        return (velocity - self.target).square().mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--step", choices=["align", "lora"], required=True)
    parser.add_argument("--variant", choices=["f32", "f32-checkpoints"], default="f32")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, config = load(args.weights, torch.float32, "train.json")
    model.requires_grad_(False)
    given = inputs(args.weights, args.size, config, torch.float32)

    def floats(name, *shape):
        size = (args.weights / name).stat().st_size // 4
        return torch.from_file(str(args.weights / name), dtype=torch.float32, size=size).reshape(shape)

    noise = floats(f"noise-{args.size}.f32", 1, -1, config["transformer"]["in_channels"])
    if args.step == "align":
        states = floats("states.f32", 1, config["layers"], -1, config["layer_width"])
        step = Align(model, config, given, states, noise)
    else:
        step = Lora(model, config, given, noise)
    if args.variant == "f32-checkpoints":
        model.train()  # it has no dropout; diffusers checkpoints in this mode alone
        model.enable_gradient_checkpointing()
    start = floats(f"{args.step}.f32", -1).split([value.numel() for value in step.parameters])
    with torch.no_grad():
        for value, first in zip(step.parameters, start):
            value.copy_(first.view_as(value))
    optimizer = torch.optim.AdamW(step.parameters, lr=1e-4)

    def forward():
        optimizer.zero_grad()
        step.loss().backward()
        optimizer.step()
        return torch.cat([value.grad.flatten() for value in step.parameters])

    versions = f"torch {torch.__version__} {args.variant}, diffusers {diffusers.__version__}"
    if args.step == "lora":
        versions += f", PEFT {peft.__version__}"
    serve(versions, forward)


if __name__ == "__main__":
    main()
