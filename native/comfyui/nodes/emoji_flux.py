"""The embedded model's transformer and VAE as ComfyUI's own, so that its samplers paint with them."""

from __future__ import annotations

from typing import Any
from unittest import mock

from comfy_api.latest import io

from . import backend
from .types import CATEGORY


class X2IEmojiFlux(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2IEmojiFlux",
            display_name="X2I Emoji FLUX",
            category=CATEGORY,
            description="The transformer and the VAE of the small model that the package x2i holds: a FLUX of 64 pixels.",
            inputs=[],
            outputs=[io.Model.Output(display_name="model"), io.Vae.Output(display_name="vae")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        x2i = backend._package()
        vae_config, vae = x2i.weights("emoji", "vae")
        flux_config, flux = x2i.weights("emoji", "flux")
        return io.NodeOutput(transformer(flux_config, flux, vae_config), autoencoder(vae_config, vae))


def tensors(arrays: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def transformer(config: dict[str, Any], weights: dict[str, Any], vae: dict[str, Any]) -> Any:
    """ComfyUI's FLUX with this config; the stock loader knows FLUX.1's sizes alone."""
    import comfy.latent_formats
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    made = comfy.supported_models.FluxSchnell(
        {
            "image_model": "flux",
            "guidance_embed": config["guidance_embeds"],
            "in_channels": config["in_channels"] // 4,  # of a latent's pixel; a token has four
            "out_channels": config["in_channels"] // 4,
            "patch_size": 2,
            "vec_in_dim": config["pooled_projection_dim"],
            "context_in_dim": config["joint_attention_dim"],
            "hidden_size": config["attention_head_dim"] * config["num_attention_heads"],
            "mlp_ratio": 4.0,
            "num_heads": config["num_attention_heads"],
            "depth": config["num_layers"],
            "depth_single_blocks": config["num_single_layers"],
            "axes_dim": config["axes_dims_rope"],
            "theta": 10000,
            "qkv_bias": True,
        }
    )
    made.latent_format = comfy.latent_formats.Flux()
    made.latent_format.scale_factor = vae["scaling_factor"]
    made.latent_format.shift_factor = vae["shift_factor"]
    made.set_inference_dtype(torch.float32, None)
    model = made.get_model({}, "")
    model.diffusion_model.load_state_dict(tensors(weights))
    load, offload = management.get_torch_device(), management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=load, offload_device=offload)


def autoencoder(config: dict[str, Any], weights: dict[str, Any]) -> Any:
    """ComfyUI's VAE with this config."""
    import comfy.ldm.modules.diffusionmodules.model as graph
    import comfy.sd
    import torch

    channels = config["block_out_channels"]
    sizes = {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": channels[0],
        "ch_mult": [width // channels[0] for width in channels],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    made = tensors(weights)
    for name, tensor in made.items():
        if ".attn_1." in name and tensor.ndim == 2:  # linear layers; ComfyUI has convolutions of one pixel
            made[name] = tensor[:, :, None, None]
    for name, width in (("quant_conv", 2 * sizes["z_channels"]), ("post_quant_conv", sizes["z_channels"])):
        made[f"{name}.weight"] = torch.eye(width)[:, :, None, None]  # FLUX has none
        made[f"{name}.bias"] = torch.zeros(width)
    group_norm = graph.ops.GroupNorm

    def grouped(num_groups: int, num_channels: int, **others: Any) -> Any:  # ComfyUI's have 32 groups
        return group_norm(config["norm_num_groups"], num_channels, **others)

    params = {"ddconfig": sizes, "embed_dim": sizes["z_channels"]}
    with mock.patch.object(graph.ops, "GroupNorm", grouped):
        vae = comfy.sd.VAE(sd=made, config={"params": params}, dtype=torch.float32)
    vae.latent_channels = config["latent_channels"]
    return vae
