"""Turns pictures, videos and sounds of Python into parts of a prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

from x2i._errors import InputError
from x2i._x2i import Image, Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage


class SupportsArray(Protocol):
    """What numpy makes an array of: its own arrays, and tensors of torch or JAX on the CPU."""

    def __array__(self, *arguments: Any, **named: Any) -> Any: ...


File: TypeAlias = "Union[str, os.PathLike[str], bytes, bytearray, memoryview]"
"""A file: its path, a `file:` or `data:` URL, or its bytes."""

ImageInput: TypeAlias = "Union[File, PILImage, SupportsArray, Image]"
"""A picture: a file, PIL's, or an array `[height, width, 1, 3 or 4]` of uint8, or of floats from 0 to 1."""

VideoInput: TypeAlias = "Union[File, tuple[Union[SupportsArray, Sequence[Union[PILImage, SupportsArray]]], float]]"
"""A video: a file, a folder of frames, or (frames, frames per second)."""

AudioInput: TypeAlias = "Union[File, tuple[Union[SupportsArray, Sequence[float]], int]]"
"""A sound: a file, or (samples, samples per second)."""

Turn: TypeAlias = "Mapping[str, Any]"
"""An earlier turn: the keys of a prompt (`prompt`, `images`, `video`, `audio` or `parts`), and `answer`."""


def image_part(image: ImageInput, argument: str, background: str | None) -> Part:
    """A picture."""
    if isinstance(image, (str, os.PathLike)):
        return Part.file("image", os.fspath(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return Part.held("image", bytes(image))
    if isinstance(image, Image):
        return Part.image(image.width, image.height, image.tobytes(), None)
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(image, pil.Image):
        return _pil_part(image, background)
    if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):
        pixels = _pixels(image, argument)
        if pixels.ndim != 3:
            raise InputError(
                f"{argument}: an array of shape {pixels.shape} is no picture; give [height, width, channels]", argument
            )
        height, width, channels = pixels.shape
        return Part.image(width, height, pixels.tobytes(), background if channels == 4 else None)
    raise TypeError(f"{argument}: {_named(image)} is no picture; give a path, bytes, PIL's picture or an array")


def _pil_part(image: Any, background: str | None) -> Part:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)  # upright, as it is when given by its path
    clear = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if image.mode[0] in "IF":  # 16 and 32 bits a channel
        raise InputError(f"images: PIL's mode {image.mode} is not 8 bits; convert it to RGB", "images")
    image = image.convert("RGBA" if clear else "RGB")
    return Part.image(image.width, image.height, image.tobytes(), background if clear else None)


def _pixels(image: Any, argument: str) -> NDArray[np.uint8]:
    """An array of pictures as bytes, whose last axis is RGB or RGBA."""
    import numpy as np

    try:
        array = np.asarray(image)
    except Exception as error:  # a tensor of a GPU, or one that records gradients
        raise InputError(f"{argument}: {_named(image)} gives no array: {error}", argument) from error
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InputError(f"{argument}: an array has values that are no numbers", argument)
        if array.size and (array.min() < -0.001 or array.max() > 1.001):
            raise InputError(f"{argument}: floats of a picture are from 0 to 1; divide by 255", argument)
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"{argument}: pixels are uint8, or floats from 0 to 1, not {array.dtype}", argument)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim < 3 or array.shape[-1] not in (1, 3, 4):
        hint = "; move its channels to the end" if array.ndim >= 3 and array.shape[-3] in (1, 3, 4) else ""
        raise InputError(f"{argument}: the last axis of shape {array.shape} is not 1, 3 or 4 channels{hint}", argument)
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    return np.ascontiguousarray(array)


def image_parts(images: Any, background: str | None) -> list[Part]:
    """One picture, an array of several, or a list."""
    if isinstance(images, (list, tuple)):
        return [part for image in images for part in image_parts(image, background)]
    if len(getattr(images, "shape", ())) == 4:
        return [image_part(image, "images", background) for image in _pixels(images, "images")]
    return [image_part(images, "images", background)]


def video_part(video: VideoInput) -> Part:
    """A video."""
    if isinstance(video, (str, os.PathLike)):
        return Part.file("video", os.fspath(video))
    if isinstance(video, (bytes, bytearray, memoryview)):
        return Part.held("video", bytes(video))
    if not (isinstance(video, tuple) and len(video) == 2 and isinstance(video[1], (int, float))):
        raise TypeError(f"video: {_named(video)} is no video; give a path, bytes, or (frames, frames per second)")
    frames, fps = _frames(video[0]), float(video[1])
    if frames.ndim != 4:
        raise InputError(f"video: frames of shape {frames.shape} are not [frames, height, width, channels]", "video")
    frames = frames[..., :3]  # videos have no transparency
    _, height, width, _ = frames.shape
    return Part.video(width, height, frames.tobytes(), fps)


def _frames(frames: Any) -> NDArray[np.uint8]:
    import numpy as np

    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(frames, (list, tuple)):
        frames = [frame.convert("RGB") if isinstance(frame, pil.Image) else frame for frame in frames]
    if isinstance(frames, (list, tuple)):
        if not frames:
            raise InputError("video: has no frames", "video")
        arrays = [np.asarray(frame) for frame in frames]
        if any(array.shape != arrays[0].shape for array in arrays):
            raise InputError("video: has frames of several sizes", "video")
        frames = np.stack(arrays)
    return _pixels(frames, "video")


def audio_part(audio: AudioInput) -> Part:
    """A sound."""
    if isinstance(audio, (str, os.PathLike)):
        return Part.file("audio", os.fspath(audio))
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return Part.held("audio", bytes(audio))
    if not (isinstance(audio, tuple) and len(audio) == 2 and isinstance(audio[1], (int, float))):
        raise TypeError(f"audio: {_named(audio)} is no sound; give a path, bytes, or (samples, samples per second)")
    rate = int(audio[1])
    if rate != audio[1] or rate < 0:
        raise InputError(f"audio: {audio[1]} samples per second is no whole number", "audio")
    return Part.audio(_mono(audio[0]).tobytes(), rate)


def _mono(samples: Any) -> NDArray[np.float32]:
    """Samples of one channel, -1 to 1; the shorter of two axes is channels, whose mean is taken, as librosa does."""
    import numpy as np

    array = np.asarray(samples)
    if array.dtype.kind in "iu":
        bits = 8 * array.dtype.itemsize
        middle = 0 if array.dtype.kind == "i" else 1 << (bits - 1)
        array = (array.astype(np.float64) - middle) / (1 << (bits - 1))
    elif array.dtype.kind != "f":
        raise InputError(f"audio: samples are floats or whole numbers, not {array.dtype}", "audio")
    if array.ndim == 2:
        array = array.mean(axis=0 if array.shape[0] <= array.shape[1] else 1)
    if array.ndim != 1:
        raise InputError(f"audio: samples of shape {array.shape} are not [samples] or [channels, samples]", "audio")
    return np.ascontiguousarray(array, dtype=np.float32)


def _several(values: Any) -> Iterable[Any]:
    return values if isinstance(values, list) else [values]


_KINDS = ("text", "image", "video", "audio")


def ordered_parts(parts: Iterable[Any], background: str | None) -> list[Part]:
    """Parts in order, as the key `parts` of a batch line has them: text, or {"image": ...}."""
    made: list[Part] = []
    for part in parts:
        if isinstance(part, str):
            made.append(Part.text(part))
            continue
        if not (isinstance(part, Mapping) and len(part) == 1 and next(iter(part)) in _KINDS):
            raise TypeError(f'parts: {_named(part)} is no part; give text, or {{"image": ...}}, "video" or "audio"')
        ((kind, value),) = part.items()
        if kind == "text":
            made.append(Part.text(value))
        elif kind == "image":
            made.append(image_part(value, "parts", background))
        elif kind == "video":
            made.append(video_part(value))
        else:
            made.append(audio_part(value))
    return made


def prompt_parts(prompt: Any, images: Any, video: Any, audio: Any, parts: Any, background: str | None) -> list[Part]:
    """The parts of one turn: `parts` in their order, or pictures, videos and sounds before the text."""
    if parts is not None:
        if prompt or any(value is not None for value in (images, video, audio)):
            raise TypeError("parts can't be given with prompt, images, video or audio; put all of them into parts")
        return ordered_parts(parts, background)
    if not isinstance(prompt, str):
        raise TypeError(f"prompt: {_named(prompt)} is no text; call once for each prompt, or give parts")
    made = image_parts(images, background) if images is not None else []
    made += [video_part(value) for value in _several(video)] if video is not None else []
    made += [audio_part(value) for value in _several(audio)] if audio is not None else []
    if prompt or not made:
        made.append(Part.text(prompt))
    return made


def earlier_turns(turns: Iterable[Turn], background: str | None) -> list[tuple[list[Part], str]]:
    """The turns of a conversation, oldest first."""
    made: list[tuple[list[Part], str]] = []
    for turn in turns:
        if not isinstance(turn, Mapping) or "answer" not in turn:
            raise TypeError(f'turns: {_named(turn)} is no turn; give {{"prompt": ..., "answer": ...}}')
        known = {"prompt", "images", "video", "audio", "parts", "answer"}
        unknown = [key for key in turn if key not in known]
        if unknown:
            raise TypeError(f"turns: `{unknown[0]}` is none of {', '.join(sorted(known))}")
        images, video, audio, parts = (turn.get(key) for key in ("images", "video", "audio", "parts"))
        said = prompt_parts(turn.get("prompt", ""), images, video, audio, parts, background)
        made.append((said, str(turn["answer"])))
    return made


def _named(value: Any) -> str:
    return f"a value of type {type(value).__module__}.{type(value).__qualname__}".replace(" of type builtins.", " of type ")
