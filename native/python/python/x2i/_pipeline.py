"""A model on a device: text, pictures, videos and sounds to pictures."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple

from x2i import _x2i
from x2i._aliases import one_of, seed_of, step_end
from x2i._errors import InputError, ModelWarning
from x2i._inputs import AudioInput, ImageInput, Turn, VideoInput, earlier_turns, image_part, prompt_parts
from x2i._result import Conditioning, Result
from x2i._x2i import Progress

SEEDS = 1 << 64

Callback = Callable[[Progress], object]
"""Hears progress; False from it, or an exception, cancels within a block of the model."""


class Device(NamedTuple):
    """A device of this machine."""

    id: str
    """What `device` takes: `cpu`, `wgpu:0`."""
    name: str
    """What it is."""


class Defaults(NamedTuple):
    """What a model takes where a call says nothing."""

    width: int
    height: int
    steps: int
    guidance: float
    conditioning: Literal["prompt", "answer"]


def devices() -> list[Device]:
    """The devices of this machine."""
    _silence_device_select()
    return [Device(*device) for device in _x2i.devices()]


def _silence_device_select() -> None:
    """Disables Mesa's layer that sorts devices, unless its user has configured it: it prints errors without a desktop."""
    if sys.platform == "linux" and not {"NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"} & os.environ.keys():
        os.environ["NODEVICE_SELECT"] = "1"


class Pipeline:
    """A model on a device.

    >>> pipe = x2i.Pipeline.from_pretrained("emoji")
    >>> pipe("a red apple", seed=7).images[0].save("apple.png")

    Threads may share a pipeline: one call computes at a time, and Python's lock is free meanwhile. `close()`, the end of a
    `with` block or the last reference gives its memory back.
    """

    def __init__(self, pipeline: _x2i.Pipeline) -> None:
        """Use `from_pretrained`."""
        self._pipeline = pipeline

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str | Sequence[str] = "auto",
        precision: Literal["auto", "f32", "f16", "bf16"] | None = None,
        memory: Literal["auto", "low", "high"] = "auto",
        max_device_memory: int | str | Sequence[int | str] | None = None,
        loras: Iterable[str | os.PathLike[str] | tuple[str | os.PathLike[str], float]] = (),
        control_weights: str | os.PathLike[str] | None = None,
        exact: bool = False,
        callback: Callback | None = None,
    ) -> Pipeline:
        """Loads a model: `"emoji"`, which the package holds, or a folder.

        `device` is `auto` (a GPU, else the CPU), `cpu`, `wgpu:0` or `cuda:0`; of a list, each device gets its part of the
        transformer's blocks. `memory="low"` loads each part when it is needed, and blocks beyond `max_device_memory`
        (bytes, or "8GiB") are read in every step. `loras` are files, or (file, scale). `control_weights` are
        LightControl's. `exact=True` rounds inputs of quantized layers to 16 bits, not 8. `callback` hears of loading.

        Raises `x2i.Error`; warns with `x2i.ModelWarning`.
        """
        _silence_device_select()
        limits = max_device_memory if isinstance(max_device_memory, (list, tuple)) else [max_device_memory]
        loading: _x2i.Loading = {
            "model": None if model is None else os.fspath(model),
            "device": device if isinstance(device, str) else ",".join(device),
            "precision": precision,
            "memory": memory,
            "max_device_memory": [str(limit) for limit in limits if limit is not None],
            "exact": exact,
            "loras": [_scaled(lora) for lora in loras],
            "control_weights": None if control_weights is None else os.fspath(control_weights),
        }
        pipeline = _x2i.Pipeline.open(loading, callback)
        for warning in pipeline.warnings:
            warnings.warn(warning, ModelWarning, stacklevel=2)
        return cls(pipeline)

    def __call__(
        self,
        prompt: str = "",
        images: ImageInput | Sequence[ImageInput] | None = None,
        *,
        video: VideoInput | list[VideoInput] | None = None,
        audio: AudioInput | list[AudioInput] | None = None,
        parts: Iterable[Any] | None = None,
        turns: Iterable[Turn] = (),
        conditioning: Literal["prompt", "answer"] | None = None,
        seed: int | None = None,
        num_images: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        width: int | None = None,
        height: int | None = None,
        init: ImageInput | None = None,
        strength: float | None = None,
        control: ImageInput | None = None,
        control_scale: float | None = None,
        control_hint: Literal["source", "edges", "gray"] | None = None,
        cache: float | None = None,
        video_fps: float | None = None,
        background: str | None = None,
        preview: bool = False,
        callback: Callback | None = None,
        image: ImageInput | Sequence[ImageInput] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int | None = None,
        generator: Any = None,
        callback_on_step_end: Callable[..., Any] | None = None,
    ) -> Result:
        """Paints pictures.

        The LLM reads `images`, then `video` and `audio`, then `prompt`; `parts` lists them in another order: text, and
        {"image": ...}, {"video": ...}, {"audio": ...}. `turns` is what was said before: mappings with the same keys and
        `answer`. A picture is a path, bytes, PIL's, or an array of uint8 or of floats from 0 to 1. A video is a path,
        bytes, or (frames, frames per second); a sound is a path, bytes, or (samples, samples per second).

        `conditioning="answer"` paints by what the LLM answers. `seed` gives the same picture everywhere; None and -1 are
        random, and further pictures have the seeds after it. `init` is a picture to begin with and `strength` how far to
        leave it (0.6). `control` is a picture that LightControl's weights steer by. `cache` is the threshold of first-block
        caching. `background` lies under transparent pixels: `white`, six digits in hex, or `dropped`.

        `callback` hears `x2i.Progress`, with pictures of every step where `preview` is true; False from it cancels within
        a block, and so do an exception and Ctrl-C.

        diffusers' names mean the same: `image`, `num_inference_steps`, `guidance_scale`, `num_images_per_prompt`,
        `generator` (its initial seed) and `callback_on_step_end`.

        Raises `x2i.InputError` (a ValueError) for an argument that can't be used, `x2i.Cancelled`, and `x2i.Error`.
        """
        steps = one_of("steps", steps, "num_inference_steps", num_inference_steps)
        guidance = one_of("guidance", guidance, "guidance_scale", guidance_scale)
        count = one_of("num_images", num_images, "num_images_per_prompt", num_images_per_prompt)
        if callback_on_step_end is not None:
            ending = step_end(self, callback_on_step_end)
            callback = one_of("callback", callback, "callback_on_step_end", ending)
        job = self._job(
            prompt_parts(prompt, one_of("images", images, "image", image), video, audio, parts, background),
            earlier_turns(turns, background),
            conditioning=conditioning,
            video_fps=video_fps,
            background=background,
            seed=seed_of(seed, generator),
            steps=steps,
            guidance=guidance,
            width=width,
            height=height,
            cache=cache,
            preview=preview,
            init=init,
            strength=strength,
            control=control,
            control_scale=control_scale,
            control_hint=control_hint,
        )
        count = 1 if count is None else count
        if not isinstance(count, int) or count < 1:
            raise InputError(f"num_images: {count} must be a whole number of at least 1", "num_images")
        seeds = [(job.seed + index) % SEEDS for index in range(count)]
        return Result([self._pipeline.paint(job, seed, callback) for seed in seeds])

    generate = __call__

    def encode(
        self,
        prompt: str = "",
        images: ImageInput | Sequence[ImageInput] | None = None,
        *,
        video: VideoInput | list[VideoInput] | None = None,
        audio: AudioInput | list[AudioInput] | None = None,
        parts: Iterable[Any] | None = None,
        turns: Iterable[Turn] = (),
        conditioning: Literal["prompt", "answer"] | None = None,
        seed: int | None = None,
        video_fps: float | None = None,
        background: str | None = None,
        callback: Callback | None = None,
    ) -> Conditioning:
        """What FLUX expects from T5 and CLIP, for another sampler: `txt, vec = pipe.encode("a red apple")`.

        The arguments are those of a call; `seed` is of an answer that the model samples. The arrays share memory that torch.from_numpy shares too.
        """
        made = prompt_parts(prompt, images, video, audio, parts, background)
        job = self._job(
            made,
            earlier_turns(turns, background),
            conditioning=conditioning,
            video_fps=video_fps,
            background=background,
            seed=seed_of(seed, None),
        )
        import numpy as np

        txt, vec, answer = self._pipeline.encode(job, callback)
        return Conditioning(np.asarray(txt), np.asarray(vec), answer)

    def _job(
        self,
        parts: list[_x2i.Part],
        turns: list[tuple[list[_x2i.Part], str]],
        *,
        conditioning: str | None,
        video_fps: float | None,
        background: str | None,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        width: int | None = None,
        height: int | None = None,
        cache: float | None = None,
        preview: bool = False,
        init: ImageInput | None = None,
        strength: float | None = None,
        control: ImageInput | None = None,
        control_scale: float | None = None,
        control_hint: str | None = None,
    ) -> _x2i.Job:
        if conditioning not in (None, "prompt", "answer"):
            raise InputError(f"conditioning: {conditioning!r} is none of prompt and answer", "conditioning")
        for needed, value, name in (
            (init, strength, "strength"),
            (control, control_scale, "control_scale"),
            (control, control_hint, "control_hint"),
        ):
            if needed is None and value is not None:
                kind = "an initial image; give it with init" if name == "strength" else "a control image; give it with control"
                raise InputError(f"{name}: needs {kind}", name)
        numbers: _x2i.Numbers = {
            "width": _whole(width, "width"),
            "height": _whole(height, "height"),
            "steps": _whole(steps, "steps"),
            "guidance": guidance,
            "cache": cache,
            "seed": _whole(seed, "seed", SEEDS),
            "answer": None if conditioning is None else conditioning == "answer",
            "video_fps": video_fps,
            "background": background,
            "preview": preview,
            "strength": strength,
            "control_scale": control_scale,
            "control_hint": control_hint,
        }
        begun = None if init is None else image_part(init, "init", background)
        steered = None if control is None else image_part(control, "control", background)
        return self._pipeline.job(parts, turns, begun, steered, numbers)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._pipeline.name

    @property
    def device(self) -> Device:
        """The device, or the devices with commas between them."""
        return Device(*self._pipeline.device)

    @property
    def sees(self) -> bool:
        """Whether the model reads pictures and videos."""
        return self._pipeline.senses[0]

    @property
    def hears(self) -> bool:
        """Whether the model reads sounds."""
        return self._pipeline.senses[1]

    @property
    def defaults(self) -> Defaults:
        """What the model takes where a call says nothing."""
        width, height, steps, guidance, answers = self._pipeline.defaults
        return Defaults(width, height, steps, guidance, "answer" if answers else "prompt")

    @property
    def closed(self) -> bool:
        """Whether its memory was given back."""
        return self._pipeline.closed

    def close(self) -> None:
        """Gives the memory of the model back; waits for a call that computes."""
        self._pipeline.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<x2i.Pipeline {self.name} on {self.device.id}{', closed' if self.closed else ''}>"


def _whole(value: int | None, name: str, most: int = 1 << 32) -> int | None:
    if value is None:
        return None
    try:
        number = value.__index__()  # of numpy too
    except AttributeError:
        raise InputError(f"{name}: {value!r} is no whole number", name) from None
    if not 0 <= number < most:
        raise InputError(f"{name}: {number} is not between 0 and {most - 1}", name)
    return number


def _scaled(lora: str | os.PathLike[str] | tuple[str | os.PathLike[str], float]) -> tuple[str, float]:
    if isinstance(lora, (str, os.PathLike)):
        return os.fspath(lora), 1.0
    file, scale = lora
    return os.fspath(file), float(scale)
