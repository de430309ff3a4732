"""What a prompt is made of, beside its text: pictures of several sizes, and what was said before."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import media
from .types import CATEGORY, Images, Turns

IMAGES = ("image", "image_2", "image_3", "image_4")


def image_input(name: str = "image", tooltip: str = "Pictures that the LLM reads; all of a batch.") -> Any:
    return io.MultiType.Input(name, types=[io.Image, Images], optional=True, tooltip=tooltip)


def inputs() -> list[Any]:
    """The inputs of a prompt, for nodes that read one."""
    return [
        io.String.Input("text", multiline=True, default="", tooltip="What to paint, in any language."),
        image_input(),
        *(image_input(name, "More pictures, of any size.") for name in IMAGES[1:]),
        io.Video.Input("video", optional=True, tooltip="A video; the LLM reads frames of it."),
        io.Audio.Input("audio", optional=True, tooltip="A sound."),
        io.Custom("X2I_TURNS").Input("turns", optional=True, tooltip="What was said before."),
    ]


def call(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the package for a prompt: pictures, then the video, the sound and the text."""
    images = [picture for name in IMAGES for picture in media.pictures(values.get(name))]
    made: dict[str, Any] = {"prompt": values.get("text") or ""}
    if images:
        made["images"] = images
    if values.get("video") is not None:
        made["video"] = media.video(values["video"])
    if values.get("audio") is not None:
        made["audio"] = media.audio(values["audio"])
    if values.get("turns"):
        made["turns"] = values["turns"]
    return made


class X2IImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2IImages",
            display_name="X2I Images",
            category=CATEGORY,
            description="Pictures of several sizes as one list, in their order.",
            inputs=[image_input(f"image_{number}", "A picture, or a batch.") for number in range(1, 5)],
            outputs=[Images.Output(display_name="images")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        names = [f"image_{number}" for number in range(1, 5)]
        return io.NodeOutput([picture for name in names for picture in media.pictures(values.get(name))])


class X2ITurn(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="X2ITurn",
            display_name="X2I Turn",
            category=CATEGORY,
            description="An earlier turn of a conversation: what was shown and said, and what the LLM answered.",
            inputs=[
                *inputs(),
                io.String.Input("answer", multiline=True, default="", tooltip="What the LLM answered."),
            ],
            outputs=[Turns.Output(display_name="turns")],
        )

    @classmethod
    def execute(cls, answer: str = "", **values: Any) -> io.NodeOutput:
        turn = call(values)
        earlier = turn.pop("turns", [])
        return io.NodeOutput([*earlier, {**turn, "answer": answer}])
