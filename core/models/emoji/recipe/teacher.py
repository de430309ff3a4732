"""The teacher: a FLUX transformer under small T5 and CLIP encoders, its sampling, and nearest-neighbour scoring."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

import data
import vocabulary

JOINT_WIDTH, POOLED_WIDTH = 256, 128
T5_WIDTH = JOINT_WIDTH
LATENT_SIDE = data.PICTURE // 8  # of the VAE's latents
TOKEN_SIDE = LATENT_SIDE // 2  # of the transformer's tokens, 2 x 2 latents each


def build_transformer() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=2, num_single_layers=6, attention_head_dim=32, num_attention_heads=8,
        joint_attention_dim=JOINT_WIDTH, pooled_projection_dim=POOLED_WIDTH, guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )  # fmt: skip


def build_clip(vocabulary_size: int) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary_size, hidden_size=POOLED_WIDTH, intermediate_size=384, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=vocabulary.TEACHER_LENGTH + 1, hidden_act="quick_gelu",
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    ))  # fmt: skip


def build_t5(vocabulary_size: int) -> T5EncoderModel:
    return T5EncoderModel(T5Config(
        vocab_size=vocabulary_size, d_model=T5_WIDTH, d_kv=32, num_heads=4, d_ff=512, num_layers=3,
        feed_forward_proj="gated-gelu", dropout_rate=0.0, pad_token_id=0, eos_token_id=1, is_encoder_decoder=False,
        use_cache=False,
    ))  # fmt: skip


def encode(t5, clip, t5_ids: torch.Tensor, clip_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(prompt_embeds [batch, tokens, JOINT_WIDTH], pooled [batch, POOLED_WIDTH])."""
    return t5(input_ids=t5_ids).last_hidden_state, clip(input_ids=clip_ids).pooler_output


@dataclass
class Texts:
    """What trained encoders say of captions."""

    t5: T5EncoderModel
    clip: CLIPTextModel
    tokenizers: vocabulary.TeacherTokenizers

    @classmethod
    def load(cls, folder: Path) -> "Texts":
        """Of a folder as diffusers lays it out."""
        t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_2").eval()
        clip = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
        return cls(t5, clip, vocabulary.TeacherTokenizers.load(folder))

    @torch.no_grad()
    def of(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(prompt_embeds [captions, tokens, JOINT_WIDTH], pooled [captions, POOLED_WIDTH])"""
        parts = [captions[start : start + 256] for start in range(0, len(captions), 256)]
        states = [encode(self.t5, self.clip, *self.tokenizers.inputs(part)) for part in parts]
        return torch.cat([embeds for embeds, _ in states]), torch.cat([pooled for _, pooled in states])


# ---- latents -------------------------------------------------------------------------------------


def pack(latents: torch.Tensor) -> torch.Tensor:
    """[batch, 16, 16, 16] to FLUX's tokens [batch, 64, 64], a token's values in the order channel, row, column."""
    batch, channels, height, width = latents.shape
    blocks = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(batch, height * width // 4, channels * 4)


def unpack(tokens: torch.Tensor) -> torch.Tensor:
    blocks = tokens.view(-1, TOKEN_SIDE, TOKEN_SIDE, 16, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(-1, 16, LATENT_SIDE, LATENT_SIDE)


def image_ids() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(TOKEN_SIDE), torch.arange(TOKEN_SIDE), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).float()


def velocity(transformer, tokens, sigma, prompt_embeds, pooled) -> torch.Tensor:
    """The transformer's prediction of noise - latents at noise level `sigma` [batch] in 0..1."""
    return transformer(
        hidden_states=tokens, timestep=sigma, encoder_hidden_states=prompt_embeds, pooled_projections=pooled,
        img_ids=image_ids(), txt_ids=torch.zeros(prompt_embeds.shape[1], 3), return_dict=False,
    )[0]  # fmt: skip


@torch.no_grad()
def sample(transformer, prompt_embeds, pooled, steps: int = 4, seed: int = 0) -> torch.Tensor:
    """Packed latents after `steps` Euler steps over the plain sigmas 1, .., 1/steps, 0."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(len(pooled), TOKEN_SIDE**2, 64, generator=generator)
    sigmas = torch.linspace(1, 1 / steps, steps).tolist() + [0.0]
    for now, then in zip(sigmas, sigmas[1:]):
        moved = velocity(transformer, tokens, torch.full((len(tokens),), now), prompt_embeds, pooled)
        tokens = tokens + (then - now) * moved.float()
    return tokens


@torch.no_grad()
def decode(vae: AutoencoderKL, tokens: torch.Tensor) -> torch.Tensor:
    """Pictures [batch, 3, PICTURE, PICTURE] in -1..1"""
    latents = unpack(tokens) / vae.config.scaling_factor + vae.config.shift_factor
    latents = latents.contiguous(memory_format=torch.channels_last)
    return torch.cat([vae.decode(chunk).sample.float() for chunk in latents.split(32)]).clamp(-1, 1)
