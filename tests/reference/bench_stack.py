"""Times diffusers' FluxTransformer2DModel at the sizes of `x2i bench stack`.

    pip install torch diffusers
    python tests/reference/bench_stack.py            # median of 5 forward passes
    x2i bench stack --compare --python python        # in turn with ours, in the same minutes
"""

import serve
import torch
from diffusers import FluxTransformer2DModel

SIDE, TEXT_TOKENS = 16, 256


def build():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=128,
        num_attention_heads=24,
        joint_attention_dim=4096,
        pooled_projection_dim=768,
        guidance_embeds=False,
        axes_dims_rope=(16, 56, 56),
    )
    img_ids = torch.zeros(SIDE, SIDE, 3)
    img_ids[..., 1] += torch.arange(SIDE)[:, None]
    img_ids[..., 2] += torch.arange(SIDE)[None, :]
    inputs = {
        "hidden_states": torch.randn(1, SIDE * SIDE, 64),
        "encoder_hidden_states": torch.randn(1, TEXT_TOKENS, 4096),
        "pooled_projections": torch.randn(1, 768),
        "timestep": torch.tensor([0.5]),
        "img_ids": img_ids.reshape(-1, 3),
        "txt_ids": torch.zeros(TEXT_TOKENS, 3),
    }
    model.eval()
    return lambda: model(**inputs, return_dict=False)


if __name__ == "__main__":
    serve.main(__doc__, build)
