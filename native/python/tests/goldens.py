"""The reference's tiny encoders as model folders, with an AlignNet of random numbers behind them.

`pipe.encode` gives what AlignNet makes of the encoder's hidden states. The goldens have the hidden states; the same
AlignNet in numpy makes of them what `encode` must give.
"""

import json
import os
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[3]
EMOJI = REPOSITORY / "core/models/emoji"
# Parity's rule: X2I_GOLDENS names a set; the repository has its own.
GOLDENS = Path(os.environ.get("X2I_GOLDENS", REPOSITORY / "tests/goldens"))

TEXT_DIM, POOLED_DIM, EPS = 256, 128, 1e-6


def read_safetensors(path):
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    kinds = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1", "F64": "<f8", "BOOL": "u1"}
    tensors = {}
    for name, about in header.items():
        begin, end = about["data_offsets"]
        values = np.frombuffer(data[8 + length + begin : 8 + length + end], kinds[about["dtype"]])
        tensors[name] = values.reshape(about["shape"])
    return tensors


def write_safetensors(path, tensors):
    header, offset, chunks = {}, 0, []
    for name, values in tensors.items():
        chunk = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + len(chunk)]}
        offset += len(chunk)
        chunks.append(chunk)
    text = json.dumps(header).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))


class AlignNet:
    """The mix of layers by a number each, LayerNorm, and two linear layers, as X2I's `Proj7Exp` computes them."""

    def __init__(self, layers, width, seed, only_last=False):
        random = np.random.default_rng(seed)
        self.layers, self.width = layers, width
        scale = random.normal(1, 0.5, layers)
        if only_last:  # the goldens have no other states
            scale = np.eye(layers)[-1] * layers
        small = lambda *shape: random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        self.tensors = {
            "cha_scale": scale.reshape(1, layers, 1, 1).astype(np.float32),
            "mlp.layernorm.weight": random.normal(1, 0.1, width).astype(np.float32),
            "mlp.layernorm.bias": random.normal(0, 0.1, width).astype(np.float32),
            "mlp.projector.0.weight": small(TEXT_DIM, width),
            "mlp.projector.2.weight": small(TEXT_DIM, TEXT_DIM),
            "mlp.fc.1.weight": small(POOLED_DIM, TEXT_DIM),
            "mlp.fc.1.bias": random.normal(0, 0.1, POOLED_DIM).astype(np.float32),
        }

    def config(self):
        sizes = {"in_channels": self.layers, "input_dim": self.width, "output_dim0": POOLED_DIM, "output_dim1": TEXT_DIM}
        return {**sizes, "norm_eps": EPS, "use_t5": False, "use_scale": True, "use_cnn": False}

    def __call__(self, hidden_states):
        weights = {name: values.astype(np.float64) for name, values in self.tensors.items()}
        mixed = (hidden_states.astype(np.float64) * weights["cha_scale"]).mean(axis=1)
        middle = mixed - mixed.mean(-1, keepdims=True)
        normed = middle / np.sqrt((middle**2).mean(-1, keepdims=True) + EPS)
        normed = normed * weights["mlp.layernorm.weight"] + weights["mlp.layernorm.bias"]
        txt = gelu(normed @ weights["mlp.projector.0.weight"].T) @ weights["mlp.projector.2.weight"].T
        vec = (gelu(txt) @ weights["mlp.fc.1.weight"].T + weights["mlp.fc.1.bias"]).mean(axis=1)
        return txt, vec


def gelu(x):
    from math import erf

    return x * 0.5 * (1 + np.vectorize(erf)(x / 2**0.5))


def make_model(folder, golden, align_net, **defaults):
    """A model folder of a golden's encoder, an AlignNet, and the embedded model's transformer and VAE."""
    source = GOLDENS / golden
    model = json.loads((EMOJI / "model.json").read_text())
    for part in ("flux", "vae"):
        (folder / f"{part}.gguf").symlink_to(EMOJI / f"{part}.gguf")
    for file in ("model.safetensors", "tokenizer.json"):
        (folder / file).symlink_to(source / file)
    write_safetensors(folder / "align_net.safetensors", align_net.tensors)
    read = lambda name: json.loads((source / name).read_text())
    encoder = {"config": read("config.json"), "weights": ["model.safetensors"], "tokenizer": "tokenizer.json"}
    encoder["chat_template"] = read("tokenizer_config.json").get("chat_template")
    if (source / "chat_template.json").exists():
        encoder["chat_template"] = read("chat_template.json")["chat_template"]
    if (source / "preprocessor_config.json").exists():
        encoder["preprocessor"] = read("preprocessor_config.json")
    # The reference decodes greedily, and its answers do not end.
    encoder["generation"] = {**read("generation_config.json"), "do_sample": False, "repetition_penalty": 1.0}
    encoder["generation"]["eos_token_id"] = []
    for key in ("top_k", "top_p", "temperature"):
        encoder["generation"].pop(key, None)
    model.update(name=golden, encoder=encoder, align_net={"config": align_net.config(), "weights": ["align_net.safetensors"]})
    model["defaults"].update({"conditioning": "prompt", "max_new_tokens": 8, "earlier_turns": None, **defaults})
    for key in ("files", "license"):
        model.pop(key, None)
    (folder / "model.json").write_text(json.dumps(model))
    return folder
