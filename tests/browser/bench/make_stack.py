#!/usr/bin/env python3
"""A FLUX transformer of one double and one single block with random weights, in two files of each
type that hold the same numbers: `f32.gguf` for x2i (names of BFL's checkpoint) and `f32.onnx` for
onnxruntime-web, and so on for q8_0 and q4_0, beside the inputs as raw f32. Needs `pip install onnx gguf`.

    python make_stack.py FOLDER

The quantized matrices of the ONNX files are MatMulNBits, whose blocks of 32 have the scale and the
integers of ggml's.

The graph follows black-forest-labs/flux `model.py` and `modules/layers.py` operation by operation;
timestep sinusoid and rotary tables are constants of it, since the benchmark paints one step.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

HEADS, HEAD_DIM = 8, 128
HIDDEN, MLP = HEADS * HEAD_DIM, 4 * HEADS * HEAD_DIM
IN_CHANNELS, TXT_DIM, POOLED = 64, 256, 128
AXES = [16, 56, 56]
TXT, SIDE = 64, 16  # text tokens; image tokens along either side
SIGMA = 0.5
OPSET = 20  # the first with Gelu(approximate)
BLOCK = 32
BITS = {"q8_0": 8, "q4_0": 4}
# onnxruntime may round activations to 8 bits; in wasm it takes the same time when it may not.
ACCURACY_LEVEL = 4

rng = np.random.default_rng(7)
weights = {}  # as in BFL's checkpoint: [out, in]
nodes, constants = [], {}
counter = 0


def constant(value, name=None):
    name = name or f"c{len(constants)}"
    constants[name] = np.asarray(value)
    return name


def op(kind, *inputs, outputs=1, **attributes):
    global counter
    counter += 1
    names = [f"{kind}_{counter}" + (f"_{i}" if i else "") for i in range(outputs)]
    nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
    return names[0] if outputs == 1 else names


def linear(x, name, inputs, outputs):
    weight = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
    bias = (0.02 * rng.standard_normal(outputs)).astype(np.float32)
    weights[f"{name}.weight"], weights[f"{name}.bias"] = weight, bias
    # The orientation that onnxruntime packs ahead of time.
    product = op("MatMul", x, constant(np.ascontiguousarray(weight.T), f"{name}.weight"))
    return op("Add", product, constant(bias, f"{name}.bias"))


def silu(x):
    return op("Mul", x, op("Sigmoid", x))


def split(x, sizes, axis=-1):
    lengths = constant(np.array(sizes, np.int64))
    return op("Split", x, lengths, outputs=len(sizes), axis=axis)


ONES = constant(np.ones(HIDDEN, np.float32), "ones")
ONE = constant(np.float32(1), "one")
TWO = constant(np.float32(2), "two")
EPS = constant(np.float32(1e-6), "eps")


def modulate(x, shift, scale):
    normed = op("LayerNormalization", x, ONES, axis=-1, epsilon=1e-6)
    return op("Add", op("Mul", normed, op("Add", scale, ONE)), shift)


def rms_norm(x, name):
    scale = (1 + 0.1 * rng.standard_normal(HEAD_DIM)).astype(np.float32)
    weights[f"{name}.scale"] = scale
    mean = op("ReduceMean", op("Pow", x, TWO), constant(np.array([-1], np.int64)), keepdims=1)
    normed = op("Div", x, op("Sqrt", op("Add", mean, EPS)))
    return op("Mul", normed, constant(scale, f"{name}.scale"))


def heads(qkv, tokens, norm):
    """[1, tokens, 3 hidden] -> q, k, v, each [1, heads, tokens, head_dim]; q and k normed."""
    shape = constant(np.array([1, tokens, HEADS, HEAD_DIM], np.int64))
    q, k, v = (op("Reshape", part, shape) for part in split(qkv, [HIDDEN] * 3))
    q, k = rms_norm(q, f"{norm}.query_norm"), rms_norm(k, f"{norm}.key_norm")
    return [op("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, k, v)]


def rotary():
    ids = [(0, 0, 0)] * TXT + [(0, token // SIDE, token % SIDE) for token in range(SIDE * SIDE)]
    angles = np.array(
        [[position * 10_000.0 ** (-2 * k / width) for position, width in zip(token, AXES) for k in range(width // 2)]
         for token in ids]
    )  # [tokens, head_dim / 2]
    table = lambda values: constant(values.astype(np.float32)[None, None, :, :, None])
    return table(np.cos(angles)), table(np.sin(angles))


COS, SIN = rotary()
TOKENS = TXT + SIDE * SIDE


def rotate(x):
    pairs = op("Reshape", x, constant(np.array([1, HEADS, TOKENS, HEAD_DIM // 2, 2], np.int64)))
    even, odd = split(pairs, [1, 1])
    turned = op(
        "Concat",
        op("Sub", op("Mul", even, COS), op("Mul", odd, SIN)),
        op("Add", op("Mul", odd, COS), op("Mul", even, SIN)),
        axis=-1,
    )
    return op("Reshape", turned, constant(np.array([1, HEADS, TOKENS, HEAD_DIM], np.int64)))


def attention(q, k, v):
    q = op("Mul", rotate(q), constant(np.float32(HEAD_DIM**-0.5)))
    scores = op("MatMul", q, op("Transpose", rotate(k), perm=[0, 1, 3, 2]))
    out = op("MatMul", op("Softmax", scores, axis=-1), v)
    out = op("Transpose", out, perm=[0, 2, 1, 3])
    return op("Reshape", out, constant(np.array([1, TOKENS, HIDDEN], np.int64)))


def embed(x, name, inputs):
    return linear(silu(linear(x, f"{name}.in_layer", inputs, HIDDEN)), f"{name}.out_layer", HIDDEN, HIDDEN)


def modulation(vec, name, parts):
    """[1, hidden] -> `parts` of [1, hidden], broadcast over the tokens."""
    return split(linear(silu(vec), name, HIDDEN, parts * HIDDEN), [HIDDEN] * parts)


def double_block(img, txt, vec):
    block = "double_blocks.0"
    streams = {}
    for name, x, tokens in (("img", img, SIDE * SIDE), ("txt", txt, TXT)):
        mod = modulation(vec, f"{block}.{name}_mod.lin", 6)
        qkv = linear(modulate(x, mod[0], mod[1]), f"{block}.{name}_attn.qkv", HIDDEN, 3 * HIDDEN)
        streams[name] = (x, mod, heads(qkv, tokens, f"{block}.{name}_attn.norm"))
    joint = [op("Concat", t, i, axis=2) for t, i in zip(streams["txt"][2], streams["img"][2])]
    parts = dict(zip(("txt", "img"), split(attention(*joint), [TXT, SIDE * SIDE], axis=1)))
    out = {}
    for name, (x, mod, _) in streams.items():
        attn = linear(parts[name], f"{block}.{name}_attn.proj", HIDDEN, HIDDEN)
        x = op("Add", x, op("Mul", mod[2], attn))
        hidden = op("Gelu", linear(modulate(x, mod[3], mod[4]), f"{block}.{name}_mlp.0", HIDDEN, MLP), approximate="tanh")
        out[name] = op("Add", x, op("Mul", mod[5], linear(hidden, f"{block}.{name}_mlp.2", MLP, HIDDEN)))
    return out["img"], out["txt"]


def single_block(x, vec):
    block = "single_blocks.0"
    shift, scale, gate = modulation(vec, f"{block}.modulation.lin", 3)
    qkv, mlp = split(linear(modulate(x, shift, scale), f"{block}.linear1", HIDDEN, 3 * HIDDEN + MLP), [3 * HIDDEN, MLP])
    attn = attention(*heads(qkv, TOKENS, f"{block}.norm"))
    out = linear(op("Concat", attn, op("Gelu", mlp, approximate="tanh"), axis=-1), f"{block}.linear2", HIDDEN + MLP, HIDDEN)
    return op("Add", x, op("Mul", gate, out))


def graph():
    frequencies = np.exp(-np.log(10_000.0) * np.arange(128) / 128) * 1000 * SIGMA
    sinusoid = constant(np.concatenate([np.cos(frequencies), np.sin(frequencies)]).astype(np.float32)[None])
    vec = op("Add", embed(sinusoid, "time_in", 256), embed("vec", "vector_in", POOLED))
    img, txt = linear("img", "img_in", IN_CHANNELS, HIDDEN), linear("txt", "txt_in", TXT_DIM, HIDDEN)
    img, txt = double_block(img, txt, vec)
    x = single_block(op("Concat", txt, img, axis=1), vec)
    _, img = split(x, [TXT, SIDE * SIDE], axis=1)
    shift, scale = modulation(vec, "final_layer.adaLN_modulation.1", 2)
    return linear(modulate(img, shift, scale), "final_layer.linear", HIDDEN, IN_CHANNELS)


def ggml_blocks(weight, kind):
    """[out, in] -> bytes [out, in / 32 * block bytes]."""
    return gguf.quants.quantize(weight, gguf.GGMLQuantizationType[kind.upper()])


def write_gguf(path, kind):
    writer = gguf.GGUFWriter(path, "flux")
    for name, value in weights.items():
        if kind in BITS and value.ndim == 2:
            writer.add_tensor(name, ggml_blocks(value, kind), raw_dtype=gguf.GGMLQuantizationType[kind.upper()])
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def nbits_constants(weight, kind):
    """The packed integers `[out, blocks, bytes]` and scales `[out * blocks]` of MatMulNBits."""
    outputs, inputs = weight.shape
    blocks = ggml_blocks(weight, kind).reshape(outputs, inputs // BLOCK, -1)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16).astype(np.float32).reshape(-1)
    packed = blocks[..., 2:]
    if kind == "q8_0":
        return packed ^ 0x80, scales  # two's complement as an offset of 128
    # ggml has element i beside element i + 16 of the block, onnxruntime beside element i + 1.
    values = np.concatenate([packed & 15, packed >> 4], axis=-1)
    return values[..., ::2] | values[..., 1::2] << 4, scales


def quantized(kind):
    """The nodes and constants with all weight matrices in blocks."""
    changed, others = [], {name: value for name, value in constants.items() if name not in weights or value.ndim != 2}
    for node in nodes:
        name = node.input[1] if len(node.input) > 1 else ""
        if node.op_type != "MatMul" or name not in weights:
            changed.append(node)
            continue
        outputs, inputs = weights[name].shape
        others[f"{name}.blocks"], others[f"{name}.scales"] = nbits_constants(weights[name], kind)
        sizes = {"K": inputs, "N": outputs, "bits": BITS[kind], "block_size": BLOCK}
        given = [node.input[0], f"{name}.blocks", f"{name}.scales"]
        options = {"domain": "com.microsoft", "accuracy_level": ACCURACY_LEVEL, **sizes}
        changed.append(helper.make_node("MatMulNBits", given, node.output, name=node.name, **options))
    return changed, others


def write_onnx(path, kind, inputs):
    describe = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    kind_nodes, kind_constants = quantized(kind) if kind in BITS else (nodes, constants)
    model = helper.make_model(
        helper.make_graph(
            kind_nodes,
            "flux",
            [describe(name, shape) for name, shape in inputs.items()],
            [describe("out", (1, SIDE * SIDE, IN_CHANNELS))],
            [numpy_helper.from_array(value, name) for name, value in kind_constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
    )
    checker.check_model(model)
    save(model, path)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"img": (1, SIDE * SIDE, IN_CHANNELS), "txt": (1, TXT, TXT_DIM), "vec": (1, POOLED)}
    graph()
    nodes[-1].output[0] = "out"
    for kind in ("f32", *BITS):
        write_gguf(folder / f"{kind}.gguf", kind)
        write_onnx(folder / f"{kind}.onnx", kind, inputs)
    for name, shape in inputs.items():
        rng.standard_normal(shape).astype("<f4").tofile(folder / f"{name}.f32")
    config = {
        "in_channels": IN_CHANNELS,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": HEAD_DIM,
        "num_attention_heads": HEADS,
        "joint_attention_dim": TXT_DIM,
        "pooled_projection_dim": POOLED,
        "axes_dims_rope": AXES,
    }
    facts = {"config": config, "inputs": inputs, "text_tokens": TXT, "side": SIDE, "sigma": SIGMA}
    (folder / "stack.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
