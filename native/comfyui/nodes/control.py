"""LightControl: a picture that steers."""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io

from . import media, models
from .types import CATEGORY, Control


class X2ILightControl(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2ILightControl",
            display_name="X2I LightControl",
            category=CATEGORY,
            description="A picture that steers X2I Generate, and LightControl's weights in models/controlnet.",
            inputs=[
                io.Combo.Input("weights", options=folder_paths.get_filename_list("controlnet")),
                io.Image.Input("image"),
                io.Float.Input("scale", default=1.0, min=-10.0, max=10.0, step=0.01),
                io.Combo.Input(
                    "hint",
                    options=["trained", "source", "edges", "gray"],
                    default="trained",
                    tooltip="What of the picture steers: what the weights were trained on, the picture, its edges or grays.",
                ),
            ],
            outputs=[Control.Output(display_name="control")],
        )

    @classmethod
    def fingerprint_inputs(cls, weights: str, **_: Any) -> str:
        return models.fingerprint("controlnet", weights)

    @classmethod
    def execute(cls, weights: str, image: Any, scale: float, hint: str) -> io.NodeOutput:
        control: dict[str, Any] = {
            "weights": models.file("controlnet", weights, "weights"),
            "control": media.only(image, "image"),
            "control_scale": scale,
        }
        if hint != "trained":
            control["control_hint"] = hint
        return io.NodeOutput(control)
