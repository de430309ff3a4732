"""The native half. Import from `x2i` instead."""

from os import PathLike
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict, final

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as PILImage

VERSION: str

class Loading(TypedDict):
    model: str | None
    device: str
    precision: str | None
    memory: str
    max_device_memory: list[str]
    exact: bool
    loras: list[tuple[str, float]]
    control_weights: str | None

class Numbers(TypedDict):
    width: int | None
    height: int | None
    steps: int | None
    guidance: float | None
    cache: float | None
    seed: int | None
    answer: bool | None
    video_fps: float | None
    background: str | None
    preview: bool
    strength: float | None
    control_scale: float | None
    control_hint: str | None

@final
class Array:
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def __array_interface__(self) -> dict[str, Any]: ...

@final
class Image:
    """A picture of 8-bit RGB. `numpy.asarray(image)` is `[height, width, 3]` in uint8."""

    @property
    def width(self) -> int:
        """Width in pixels."""
    @property
    def height(self) -> int:
        """Height in pixels."""
    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as PIL has them."""
    @property
    def shape(self) -> tuple[int, int, int]: ...
    def tobytes(self) -> bytes:
        """The bytes of its pixels, red, green and blue, row by row."""
    def numpy(self) -> NDArray[np.uint8]:
        """The pixels as an array of numpy, `[height, width, 3]` in uint8."""
    def pil(self) -> PILImage:
        """The picture as one of PIL's; raises ImportError without Pillow."""
    @property
    def __array_interface__(self) -> dict[str, Any]: ...

@final
class Progress:
    """One event: `done` of `total` units of a phase."""

    @property
    def phase(self) -> Literal["load", "encode", "denoise", "decode"]:
        """What is going on."""
    @property
    def done(self) -> int:
        """Units done: bytes while loading, tokens of the answer while encoding, blocks while denoising and decoding."""
    @property
    def total(self) -> int:
        """Units in all."""
    @property
    def step(self) -> int | None:
        """Finished steps, while denoising."""
    @property
    def steps(self) -> int | None:
        """Steps in all, while denoising."""
    @property
    def preview(self) -> Image | None:
        """The picture as it looks so far, on the event that ends a step, with `preview=True`."""
    @property
    def answer(self) -> str | None:
        """What the LLM answered, on the event that ends encoding."""

@final
class Part:
    @staticmethod
    def text(text: str) -> Part: ...
    @staticmethod
    def file(kind: str, path: str | PathLike[str]) -> Part: ...
    @staticmethod
    def held(kind: str, bytes: bytes) -> Part: ...
    @staticmethod
    def image(width: int, height: int, pixels: bytes, background: str | None) -> Part: ...
    @staticmethod
    def video(width: int, height: int, frames: bytes, fps: float) -> Part: ...
    @staticmethod
    def audio(samples: bytes, rate: int) -> Part: ...

@final
class Job:
    @property
    def seed(self) -> int: ...
    @property
    def size(self) -> tuple[int, int]: ...

@final
class Painted:
    @property
    def image(self) -> Image: ...
    @property
    def seed(self) -> int: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def certainty(self) -> float | None: ...
    @property
    def unknown(self) -> str | None: ...
    @property
    def alternatives(self) -> list[tuple[str, float]]: ...
    @property
    def metadata(self) -> str: ...
    @property
    def prompt_tokens(self) -> tuple[int, int]: ...
    @property
    def skipped_steps(self) -> int: ...
    def file(self, format: Literal["png", "jpeg", "webp"], quality: int) -> bytes: ...
    def save(self, path: str | PathLike[str], quality: int) -> None: ...

Callback = Callable[[Progress], object]

@final
class Pipeline:
    @staticmethod
    def open(loading: Loading, callback: Callback | None) -> Pipeline: ...
    def job(
        self,
        parts: Sequence[Part],
        turns: Sequence[tuple[Sequence[Part], str]],
        init: Part | None,
        control: Part | None,
        numbers: Numbers,
    ) -> Job: ...
    def paint(self, job: Job, seed: int, callback: Callback | None) -> Painted: ...
    def encode(self, job: Job, callback: Callback | None) -> tuple[Array, Array, str | None]: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def device(self) -> tuple[str, str]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def senses(self) -> tuple[bool, bool]: ...
    @property
    def defaults(self) -> tuple[int, int, int, float, bool]: ...

def devices() -> list[tuple[str, str]]: ...
def main(arguments: Sequence[str]) -> int: ...
def train(
    what: str, name: str, text: str, given: str, callback: Callable[[str], object]
) -> bool: ...
def weights(model: str, part: str) -> tuple[str, list[tuple[str, Array]]]: ...
