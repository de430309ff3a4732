"""What PyTorch 2.5 and diffusers 0.31 do slowly on a CPU for the short sequences and narrow layers here, done otherwise.

`install` puts these in their places for the whole process. They compute the same, in the precision of their inputs: a step
of stage 2 takes 1.8 instead of 3.5 CPU seconds in bfloat16 (Zen 5), of which attention is the most.
"""

import torch
import torch.nn.functional as F


def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_) -> torch.Tensor:
    """`F.scaled_dot_product_attention` by products."""
    scores = (query * (scale or query.shape[-1] ** -0.5)) @ key.transpose(-1, -2)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.softmax(scores, -1).to(value.dtype) @ value


def rotary(x: torch.Tensor, freqs_cis, use_real: bool = True, use_real_unbind_dim: int = -1) -> torch.Tensor:
    """diffusers' `apply_rotary_emb` of neighbouring pairs, without float32 copies."""
    cos, sin = (part.to(x.dtype) for part in freqs_cis)
    sign = torch.tensor([-1.0, 1.0], dtype=x.dtype)
    turned = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return x * cos + turned * (sin.unflatten(-1, (-1, 2)) * sign).flatten(-2)


def rms_norm(self, hidden_states: torch.Tensor) -> torch.Tensor:
    """diffusers' `RMSNorm.forward`."""
    weight = None if self.weight is None else self.weight.to(hidden_states.dtype)
    return F.rms_norm(hidden_states, hidden_states.shape[-1:], weight, self.eps)


def install() -> None:
    from diffusers.models import embeddings, normalization

    torch.nn.functional.scaled_dot_product_attention = attention
    embeddings.apply_rotary_emb = rotary
    normalization.RMSNorm.forward = rms_norm
