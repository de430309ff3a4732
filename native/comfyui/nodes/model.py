"""Which model, how it is loaded, and when its memory is given back."""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io

from . import backend, models
from .types import CATEGORY, Model


class X2IModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2IModel",
            display_name="X2I Model",
            category=CATEGORY,
            description="A model in models/x2i (a folder each), or the small one that the package x2i holds: emoji.",
            inputs=[
                io.Combo.Input("model", options=models.names(), default=models.EMBEDDED),
                io.Combo.Input(
                    "device",
                    options=["auto", "cpu", "wgpu:0", "wgpu:1", "wgpu:2", "wgpu:3", "cuda:0", "cuda:1"],
                    default="auto",
                    tooltip="auto takes a GPU, else the CPU.",
                ),
                io.Combo.Input("precision", options=["auto", "f32", "f16", "bf16"], default="auto", optional=True),
                io.Combo.Input(
                    "memory",
                    options=["auto", "low", "high"],
                    default="auto",
                    optional=True,
                    tooltip="low loads each part when it is needed. X2I Encode needs the encoder and AlignNet alone.",
                ),
                io.String.Input(
                    "max_device_memory",
                    default="",
                    optional=True,
                    tooltip="The most memory of the device, such as 8GiB; the other blocks are read in every step.",
                ),
                io.Boolean.Input(
                    "keep_loaded",
                    default=False,
                    optional=True,
                    tooltip="Keep the model in memory between runs. ComfyUI does not know of it; X2I Unload frees it.",
                ),
                io.String.Input(
                    "server",
                    default="",
                    optional=True,
                    tooltip="The address of `x2i serve`, such as http://gpu:8080; it computes, with its own model.",
                ),
            ],
            outputs=[Model.Output(display_name="model")],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, **_: Any) -> str:
        try:
            return models.stamp(models.place(model))
        except (OSError, ValueError):
            return model

    @classmethod
    def execute(
        cls,
        model: str,
        device: str,
        precision: str = "auto",
        memory: str = "auto",
        max_device_memory: str = "",
        keep_loaded: bool = False,
        server: str = "",
    ) -> io.NodeOutput:
        server = server.strip().rstrip("/")
        place = model if server else models.place(model)
        handle = backend.Handle(
            place=place,
            stamp="" if server else models.stamp(place),
            device=device,
            precision=precision,
            memory=memory,
            max_device_memory=max_device_memory.strip(),
            keep_loaded=keep_loaded,
            server=server,
        )
        return io.NodeOutput(handle)


class X2ILora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2ILora",
            display_name="X2I LoRA",
            category=CATEGORY,
            description="A LoRA of the transformer, for X2I Generate. X2I Encode's conditioning needs ComfyUI's own.",
            inputs=[
                Model.Input("model"),
                io.Combo.Input("lora", options=folder_paths.get_filename_list("loras")),
                io.Float.Input("strength", default=1.0, min=-100.0, max=100.0, step=0.01),
            ],
            outputs=[Model.Output(display_name="model")],
        )

    @classmethod
    def fingerprint_inputs(cls, lora: str, **_: Any) -> str:
        return models.fingerprint("loras", lora)

    @classmethod
    def execute(cls, model: backend.Handle, lora: str, strength: float) -> io.NodeOutput:
        return io.NodeOutput(model.with_lora(models.file("loras", lora, "lora"), strength))


class X2IUnload(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2IUnload",
            display_name="X2I Unload",
            category=CATEGORY,
            description="Gives the memory of X2I's model back, when its input is there; the input goes through.",
            inputs=[io.AnyType.Input("value", tooltip="Anything that is computed before.")],
            outputs=[io.AnyType.Output(display_name="value")],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, value: Any) -> io.NodeOutput:
        backend.LOCAL.unload()
        return io.NodeOutput(value)
