"""A prompt to CONDITIONING, for ComfyUI's own FLUX sampler."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import backend, media, prompt
from .types import CATEGORY, Model

MODELS = "the model's"


def conditioning_input() -> Any:
    return io.Combo.Input(
        "conditioning",
        options=[MODELS, "prompt", "answer"],
        default=MODELS,
        optional=True,
        tooltip="Whose hidden states paint: the prompt's, or those of what the LLM answers.",
    )


def seed_input(tooltip: str) -> Any:
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip=tooltip)


class X2IEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2IEncode",
            display_name="X2I Encode",
            category=CATEGORY,
            description="Text, pictures, a video and a sound to conditioning, in place of FLUX's T5 and CLIP.",
            inputs=[
                Model.Input("model"),
                *prompt.inputs(),
                io.Float.Input("guidance", default=3.5, min=0.0, max=100.0, step=0.1, tooltip="Of FLUX.1-dev."),
                conditioning_input(),
                seed_input("Of the LLM's answer, where the model samples it."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="conditioning"),
                io.String.Output(display_name="answer"),
            ],
        )

    @classmethod
    def execute(
        cls, model: backend.Handle, guidance: float, seed: int = 0, conditioning: str = MODELS, **values: Any
    ) -> io.NodeOutput:
        call = prompt.call(values)
        call["seed"] = seed
        if conditioning != MODELS:
            call["conditioning"] = conditioning
        encoded = backend.of(model).encode(model, call)
        states = {"pooled_output": media.tensor(encoded.vec), "guidance": guidance}
        return io.NodeOutput([[media.tensor(encoded.txt), states]], encoded.answer)
