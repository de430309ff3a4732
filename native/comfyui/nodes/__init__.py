"""The nodes, and how ComfyUI finds them."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import models
from .control import X2ILightControl
from .emoji_flux import X2IEmojiFlux
from .encode import X2IEncode
from .generate import X2IGenerate
from .model import X2ILora, X2IModel, X2IUnload
from .prompt import X2IImages, X2ITurn
from .replacements import register

NODES: list[type[io.ComfyNode]] = [
    X2IModel,
    X2ILora,
    X2ILightControl,
    X2IImages,
    X2ITurn,
    X2IEncode,
    X2IGenerate,
    X2IUnload,
    X2IEmojiFlux,
]


class X2I(ComfyExtension):
    async def on_load(self) -> None:
        await register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> X2I:
    models.add_folder()
    return X2I()
