"""A prompt to pictures, by X2I's own sampler: the pictures of `x2i generate`."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import backend, media, prompt
from .encode import MODELS, conditioning_input, seed_input
from .types import CATEGORY, Control, Model


class X2IGenerate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        side = {"default": 0, "min": 0, "max": 8192, "step": 16, "optional": True, "tooltip": "0 is the model's."}
        return io.Schema(
            node_id="X2IGenerate",
            display_name="X2I Generate",
            category=CATEGORY,
            description="Text, pictures, a video and a sound to pictures, by the whole model.",
            inputs=[
                Model.Input("model"),
                *prompt.inputs(),
                seed_input("The same picture as `x2i generate --seed`; further pictures have the seeds after it."),
                io.Int.Input("width", **side),
                io.Int.Input("height", **side),
                io.Int.Input("steps", default=0, min=0, max=1000, optional=True, tooltip="0 is the model's."),
                io.Float.Input(
                    "guidance", default=-1.0, min=-1.0, max=100.0, step=0.1, optional=True, tooltip="-1 is the model's."
                ),
                io.Int.Input("num_images", default=1, min=1, max=64, optional=True),
                conditioning_input(),
                io.Image.Input("init", optional=True, tooltip="A picture to begin with."),
                io.Float.Input(
                    "strength", default=0.6, min=0.01, max=1.0, step=0.01, optional=True, tooltip="How far init is left."
                ),
                Control.Input("control", optional=True, tooltip="A picture that steers: X2I LightControl."),
            ],
            outputs=[
                io.Image.Output(display_name="images"),
                io.String.Output(display_name="answer"),
                io.Int.Output(display_name="seed_used"),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: backend.Handle,
        seed: int,
        width: int = 0,
        height: int = 0,
        steps: int = 0,
        guidance: float = -1.0,
        num_images: int = 1,
        conditioning: str = MODELS,
        init: Any = None,
        strength: float = 0.6,
        control: dict[str, Any] | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        call = prompt.call(values)
        call.update(seed=seed, num_images=num_images)
        call.update({name: value for name, value in (("width", width), ("height", height), ("steps", steps)) if value})
        if guidance >= 0:
            call["guidance"] = guidance
        if conditioning != MODELS:
            call["conditioning"] = conditioning
        if init is not None:
            call.update(init=media.only(init, "init"), strength=strength)
        if control is not None:
            control = dict(control)
            model = model.with_control(control.pop("weights"))
            call.update(control)
        painted = backend.of(model).paint(model, call)
        return io.NodeOutput(media.batch(painted.arrays), painted.answer, painted.seed)
