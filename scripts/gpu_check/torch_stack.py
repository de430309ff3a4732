"""PyTorch's side of `x2i bench stack`: FLUX's blocks in plain PyTorch, with scaled-dot-product attention.

    torch_stack.py --weights FOLDER --variant bf16|bf16-compile|f32 --size 1024 [--device cuda]

FOLDER holds bf16.gguf (names of BFL's checkpoint), stack.json and the inputs as raw f32, all written by x2i; the
result is the velocity, f32 [image tokens, 64]. serve.py has the protocol. Needs torch and nothing else: the
benchmark for CPUs (tests/reference/bench_stack.py) runs diffusers' model.
"""

import argparse
import json
import math
import mmap
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from serve import serve
from torch import nn

GGUF_TYPES = {0: (torch.float32, 4), 1: (torch.float16, 2), 30: (torch.bfloat16, 2)}
# Sizes of GGUF's values: u8 i8 u16 i16 u32 i32 f32 bool, and u64 i64 f64.
GGUF_VALUES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def read_gguf(path):
    """(name, tensor) of every tensor of a file of floats."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    at = 0

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value

    def text():
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length : at].decode()

    assert take("I") == 0x46554747, "no GGUF file"
    take("I")
    count, values = take("Q"), take("Q")
    for _ in range(values):
        text()
        kind = take("I")
        if kind == 8:
            text()
        else:
            at += GGUF_VALUES[kind]
    entries = []
    for _ in range(count):
        name = text()
        shape = [take("Q") for _ in range(take("I"))][::-1]
        entries.append((name, shape, take("I"), take("Q")))
    start = (at + 31) // 32 * 32
    for name, shape, kind, offset in entries:
        dtype, _ = GGUF_TYPES[kind]
        count = math.prod(shape)
        yield name, torch.frombuffer(data, dtype=dtype, count=count, offset=start + offset).reshape(shape)


def rope(q, k, cos, sin):
    """Turns pairs of neighbours; in f32, as BFL's code does."""

    def turn(x):
        pairs = x.float().unflatten(-1, (-1, 2))
        a, b = pairs[..., 0], pairs[..., 1]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)

    return turn(q), turn(k)


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))

    def forward(self, x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.scale


class QkNorm(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.query_norm, self.key_norm = Scale(head), Scale(head)


class Modulation(nn.Module):
    def __init__(self, width, count):
        super().__init__()
        self.lin, self.count = nn.Linear(width, count * width), count

    def forward(self, vec):
        return self.lin(F.silu(vec))[:, None].chunk(self.count, -1)


class SelfAttention(nn.Module):
    def __init__(self, width, head):
        super().__init__()
        self.qkv, self.proj, self.norm = nn.Linear(width, 3 * width), nn.Linear(width, width), QkNorm(head)


def heads(qkv, norm):
    """q, k, v `[batch, heads, tokens, head]` with q and k normed."""
    head = norm.query_norm.scale.numel()
    q, k, v = qkv.unflatten(-1, (3, -1, head)).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q), norm.key_norm(k), v


def attention(q, k, v, table):
    q, k = rope(q, k, *table)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def modulated(x, shift, scale):
    return (1 + scale) * F.layer_norm(x, x.shape[-1:], eps=1e-6) + shift


def mlp(width):
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))


class DoubleBlock(nn.Module):
    def __init__(self, width, head):
        super().__init__()
        self.img_mod, self.txt_mod = Modulation(width, 6), Modulation(width, 6)
        self.img_attn, self.txt_attn = SelfAttention(width, head), SelfAttention(width, head)
        self.img_mlp, self.txt_mlp = mlp(width), mlp(width)

    def forward(self, img, txt, vec, table):
        i, t = self.img_mod(vec), self.txt_mod(vec)
        of_img = heads(self.img_attn.qkv(modulated(img, i[0], i[1])), self.img_attn.norm)
        of_txt = heads(self.txt_attn.qkv(modulated(txt, t[0], t[1])), self.txt_attn.norm)
        out = attention(*(torch.cat(pair, 2) for pair in zip(of_txt, of_img)), table)
        txt = txt + t[2] * self.txt_attn.proj(out[:, : txt.shape[1]])
        img = img + i[2] * self.img_attn.proj(out[:, txt.shape[1] :])
        txt = txt + t[5] * self.txt_mlp(modulated(txt, t[3], t[4]))
        return img + i[5] * self.img_mlp(modulated(img, i[3], i[4])), txt


class SingleBlock(nn.Module):
    def __init__(self, width, head):
        super().__init__()
        self.width, self.modulation, self.norm = width, Modulation(width, 3), QkNorm(head)
        self.linear1, self.linear2 = nn.Linear(width, 7 * width), nn.Linear(5 * width, width)

    def forward(self, x, vec, table):
        shift, scale, gate = self.modulation(vec)
        qkv, hidden = self.linear1(modulated(x, shift, scale)).split((3 * self.width, 4 * self.width), -1)
        out = attention(*heads(qkv, self.norm), table)
        return x + gate * self.linear2(torch.cat((out, F.gelu(hidden, approximate="tanh")), -1))


class Embedder(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(inputs, width), nn.Linear(width, width)

    def forward(self, x):
        return self.out_layer(F.silu(self.in_layer(x)))


class FinalLayer(nn.Module):
    def __init__(self, width, channels):
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x, vec):
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, -1)
        return self.linear(modulated(x, shift, scale))


class Stack(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        head = sizes["attention_head_dim"]
        width = head * sizes["num_attention_heads"]
        self.img_in = nn.Linear(sizes["in_channels"], width)
        self.txt_in = nn.Linear(sizes["joint_attention_dim"], width)
        self.time_in, self.vector_in = Embedder(256, width), Embedder(sizes["pooled_projection_dim"], width)
        self.double_blocks = nn.ModuleList(DoubleBlock(width, head) for _ in range(sizes["num_layers"]))
        self.single_blocks = nn.ModuleList(SingleBlock(width, head) for _ in range(sizes["num_single_layers"]))
        self.final_layer = FinalLayer(width, sizes["in_channels"])

    def forward(self, img, txt, pooled, time, cos, sin):
        img, txt = self.img_in(img), self.txt_in(txt)
        vec = self.time_in(time) + self.vector_in(pooled)
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, (cos, sin))
        x = torch.cat((txt, img), 1)
        for block in self.single_blocks:
            x = block(x, vec, (cos, sin))
        return self.final_layer(x[:, txt.shape[1] :], vec)


def rope_table(side, text, axes):
    """cos and sin `[text + image tokens, head / 2]`."""
    row, column = torch.arange(side), torch.arange(side)
    image = torch.stack((torch.zeros(side, side), row[:, None].expand(side, side), column.expand(side, side)), -1)
    ids = torch.cat((torch.zeros(text, 3), image.reshape(-1, 3))).double()
    parts = [
        ids[:, axis, None] * 10000.0 ** -(torch.arange(0, width, 2).double() / width) for axis, width in enumerate(axes)
    ]
    angles = torch.cat(parts, 1)
    return angles.cos().float(), angles.sin().float()


def sinusoid(sigma):
    angles = 1000 * sigma * torch.exp(-math.log(10000) * torch.arange(128).double() / 128)
    return torch.cat((angles.cos(), angles.sin()))[None]


def inputs(folder, size, config):
    sizes = config["transformer"]

    def floats(name, width):
        file = folder / name
        values = torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.float32)
        return values.reshape(1, -1, width)

    txt = floats("txt.f32", sizes["joint_attention_dim"])
    pooled = floats("vec.f32", sizes["pooled_projection_dim"])[0]
    img = floats("img-%d.f32" % size, sizes["in_channels"])
    return [img, txt, pooled, sinusoid(config["sigma"])], rope_table(size // 16, txt.shape[1], sizes["axes_dims_rope"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--variant", choices=["bf16", "bf16-compile", "f32"], default="bf16")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    # f32 is the exact result that the others are compared with: no tensor cores.
    torch.backends.cuda.matmul.allow_tf32 = False
    dtype = torch.float32 if args.variant == "f32" else torch.bfloat16
    config = json.loads((args.weights / "stack.json").read_text())
    with torch.device("meta"):
        model = Stack(config["transformer"])
    state = {name: value.to(args.device, dtype) for name, value in read_gguf(args.weights / "bf16.gguf")}
    model.load_state_dict(state, assign=True)
    model.eval()
    given, table = inputs(args.weights, args.size, config)
    given = [value.to(args.device, dtype) for value in given] + [value.to(args.device) for value in table]
    if args.variant == "bf16-compile":
        for block in [*model.double_blocks, *model.single_blocks]:
            block.compile()  # blocks of a kind are compiled once
    versions = "torch %s %s" % (torch.__version__, args.variant)
    if args.device == "cuda":
        versions += ", " + torch.cuda.get_device_name()
    # The copy to the host waits for the GPU, on our side too.
    serve(versions, lambda: model(*given)[0].float().cpu())


if __name__ == "__main__":
    main()
