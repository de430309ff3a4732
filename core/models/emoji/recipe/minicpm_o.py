"""The language model that sees and hears: MiniCPM-o 2.6's architecture, without its speaker, under its own tensor names.

A picture goes through a SigLIP tower (`vpm`) and a resampler that makes `query_num` tokens of it, a sound through
Whisper's encoder (`apm`), a projection and an average of neighbouring frames; Qwen2 (`llm`) reads
them where the prompt has placeholders. A picture of the prompt is a caller's batch of one shape, and a sound is heard
as if it were alone: the published code pads sounds of one prompt to one length and then hears half of the padding, which
a prompt with one sound never meets. Sources: X2I's minicpm/*.py and transformers' Whisper.

    python minicpm_o.py --check tests/goldens/minicpm_o_tiny

compares it with the reference's own numbers.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

RESAMPLER_HEAD = 128  # channels of one head
FRAMES_A_SECOND = 50  # of the audio tower, behind its second convolution
DECODER_KEYS = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
    "max_position_embeddings rms_norm_eps rope_theta tie_word_embeddings bos_token_id eos_token_id"
).split()


class Attention(nn.Module):
    """Multi-head attention of both towers; Whisper's keys have no bias."""

    def __init__(self, width: int, heads: int, key_bias: bool):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width, bias=key_bias)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        split = lambda y: y.float().unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        queries, keys, values = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        with torch.autocast("cpu", enabled=False):  # in bfloat16 its backward pass takes 2.6 times as long
            mixed = F.scaled_dot_product_attention(queries, keys, values, mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


# ---- seeing --------------------------------------------------------------------------------------


class VisionMlp(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class VisionLayer(nn.Module):
    def __init__(self, width: int, inner: int, heads: int):
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.self_attn, self.mlp = Attention(width, heads, key_bias=True), VisionMlp(width, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class VisionEmbeddings(nn.Module):
    def __init__(self, width: int, patch: int, positions: int):
        super().__init__()
        self.positions = positions  # along one side
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch)
        self.position_embedding = nn.Embedding(positions**2, width)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embedding(pictures)  # [pictures, width, rows, columns]
        ids = position_ids(*patches.shape[2:], self.positions)
        return patches.flatten(2).transpose(1, 2) + self.position_embedding(ids)


def position_ids(rows: int, columns: int, positions: int) -> torch.Tensor:
    """The learned position of every patch, by rows: the grid is spread over all positions, whatever its shape."""
    boundaries = torch.arange(1 / positions, 1.0, 1 / positions)
    spread = lambda count: torch.bucketize(torch.arange(0, 1 - 1e-6, 1 / count), boundaries, right=True)  # noqa: E731
    return (spread(rows)[:, None] * positions + spread(columns)).flatten()


class VisionTower(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        layer = lambda: VisionLayer(width, config["intermediate_size"], config["num_attention_heads"])  # noqa: E731
        self.embeddings = VisionEmbeddings(width, patch, config["image_size"] // patch)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(layer() for _ in range(config["num_hidden_layers"]))
        self.post_layernorm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """[pictures, 3, height, width] in -1..1 to [pictures, patches, width]."""
        x = self.embeddings(pictures)
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x)


class Resampler(nn.Module):
    """`queries` tokens of a picture: learned queries look once at its patches; only the keys know places."""

    def __init__(self, queries: int, width: int, vision_width: int):
        super().__init__()
        self.query = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.kv_proj = nn.Linear(vision_width, width, bias=False)
        self.attn = nn.MultiheadAttention(width, width // RESAMPLER_HEAD, batch_first=True)
        self.ln_q, self.ln_kv = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.ln_post = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Parameter(torch.randn(width, width) * width**-0.5)

    def forward(self, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        values = self.ln_kv(self.kv_proj(patches))
        queries = self.ln_q(self.query).expand(len(patches), -1, -1)
        keys = values + place_embeddings(rows, columns, values.shape[-1])
        found = self.attn(queries, keys, values, need_weights=False)[0]
        return self.ln_post(found) @ self.proj


def place_embeddings(rows: int, columns: int, width: int) -> torch.Tensor:
    """[rows * columns, width]: half of the channels count columns, half rows, sines before cosines."""
    frequencies = 1 / 10000 ** (torch.arange(width // 4) / (width // 4))
    axis = lambda n: torch.cat([f(torch.arange(n)[:, None] * frequencies) for f in (torch.sin, torch.cos)], 1)  # noqa: E731
    by_column = axis(columns)[None].expand(rows, -1, -1)
    by_row = axis(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([by_column, by_row], -1).flatten(0, 1)


# ---- hearing -------------------------------------------------------------------------------------


class AudioLayer(nn.Module):
    def __init__(self, width: int, inner: int, heads: int):
        super().__init__()
        self.self_attn = Attention(width, heads, key_bias=False)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class AudioTower(nn.Module):
    """Whisper's encoder; a frame hears its own block of `chunk` frames and all before it."""

    def __init__(self, config: dict, chunk_seconds: float):
        super().__init__()
        width, inner = config["d_model"], config["encoder_ffn_dim"]
        self.chunk = int(chunk_seconds * FRAMES_A_SECOND)
        self.conv1 = nn.Conv1d(config.get("num_mel_bins", 80), width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding.from_pretrained(sinusoids(1500, width), freeze=False)
        heads = config["encoder_attention_heads"]
        self.layers = nn.ModuleList(AudioLayer(width, inner, heads) for _ in range(config["encoder_layers"]))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Spectrograms [clips, bins, frames] of `frames` [clips] each, zeros behind, to [clips, frames / 2, width]."""
        return self.layer_norm(self.states(mel, frames)[-1])

    def states(self, mel: torch.Tensor, frames: torch.Tensor) -> list[torch.Tensor]:
        """What every layer makes of them, before the last norm."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        place = torch.arange(x.shape[1])
        x = x + self.embed_positions(place)
        seen = place[None, :] < (place[:, None] // self.chunk + 1) * self.chunk  # [query, key]
        inside = place < half(frames)[:, None]
        mask = (seen & inside[:, None])[:, None]  # [clips, 1, query, key]
        states = []
        for layer in self.layers:
            x = layer(x, mask)
            states.append(x)
        return states


def half(frames):
    """Frames behind the second convolution."""
    return (frames + 1) // 2


def sinusoids(count: int, width: int) -> torch.Tensor:
    """Whisper's positions."""
    frequencies = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(count)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


class AudioProjection(nn.Module):
    def __init__(self, audio_width: int, width: int):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(audio_width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear2(F.relu(self.linear1(x)))


# ---- all of it -----------------------------------------------------------------------------------


class MiniCpmO(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        width, vision, audio = config["hidden_size"], config["vision_config"], config["audio_config"]
        self.llm = Qwen2ForCausalLM(Qwen2Config(**{key: config[key] for key in DECODER_KEYS if key in config}))
        self.vpm = VisionTower(vision)
        self.resampler = Resampler(config["query_num"], width, vision["hidden_size"])
        self.apm = AudioTower(audio, config["audio_chunk_length"])
        self.audio_projection_layer = AudioProjection(audio["d_model"], width)

    def see(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures of one size [pictures, 3, height, width] in -1..1 to tokens [pictures, query_num, hidden]."""
        patch = self.config["vision_config"]["patch_size"]
        return self.resampler(self.vpm(pictures), pictures.shape[2] // patch, pictures.shape[3] // patch)

    def hear(self, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Spectrograms, as for the tower, to tokens [clips, tokens of the longest, hidden]."""
        heard = self.audio_projection_layer(self.apm(mel, frames))
        return F.avg_pool1d(heard.transpose(1, 2), self.config["audio_pool_step"]).transpose(1, 2)

    def tokens_heard(self, frames):
        """Tokens of a clip of so many mel frames."""
        return half(frames) // self.config["audio_pool_step"]

    def embed(self, ids: torch.Tensor, places: torch.Tensor | None, shown: torch.Tensor | None) -> torch.Tensor:
        """[sequences, tokens, hidden]: the rows `shown` in reading order where `places` holds, text elsewhere."""
        embedded = self.llm.model.embed_tokens(ids)
        if shown is None:
            return embedded
        return embedded.masked_scatter(places[..., None], shown)

    def read(self, embedded: torch.Tensor) -> torch.Tensor:
        """Hidden states [layers + 1, sequences, tokens, hidden], the last behind the final norm.

        Sequences are padded on the right, which a causal model never looks at.
        """
        output = self.llm.model(inputs_embeds=embedded, use_cache=False, output_hidden_states=True)
        return torch.stack(output.hidden_states)


# ---- comparing -----------------------------------------------------------------------------------


def check(folder: Path) -> None:
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    model, golden = MiniCpmO(config), load_file(folder / "golden.safetensors")
    missing = model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    print(missing)
    unknown = json.loads((folder / "added_tokens.json").read_text())["<unk>"]

    def compare(case: str, shown: torch.Tensor) -> None:
        ids = golden[f"out.{case}.input_ids"]
        states = model.read(model.embed(ids, ids == unknown, shown))[:, 0]
        wanted = golden.get(f"out.{case}.hidden_states_last")
        wanted = golden[f"out.{case}.hidden_states"][0, -1] if wanted is None else wanted[0]
        print(f"{case}: hidden states off by {(states[-1] - wanted).abs().max():.2g} of {wanted.abs().max():.2g}")

    def picture(case: str) -> torch.Tensor:
        rows, columns = golden[f"out.{case}.tgt_sizes"][0].tolist()
        patch = config["vision_config"]["patch_size"]
        strip = golden[f"out.{case}.pixel_values.0"].view(3, patch, rows, columns, patch)  # patches side by side
        return strip.permute(0, 2, 1, 3, 4).reshape(1, 3, rows * patch, columns * patch)

    with torch.no_grad():
        heard = model.hear(golden["out.audio.mel"], golden["out.audio.audio_feature_lens"])
        seen = model.see(picture("omni"))
        compare("image", model.see(picture("image")).flatten(0, 1))
        compare("audio", heard.flatten(0, 1))
        mel, frames = golden["out.omni.mel"], golden["out.omni.audio_feature_lens"]
        compare("omni", torch.cat([seen.flatten(0, 1), model.hear(mel, frames).flatten(0, 1)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, required=True, help="folder of a golden case")
    check(parser.parse_args().check)
