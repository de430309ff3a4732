"""What a pipeline gives back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

from x2i._errors import InputError
from x2i._x2i import Image, Painted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

_pil = Image.pil


def _pil_or_reason(self: Image) -> PILImage:
    """The picture as one of PIL's; raises ImportError without Pillow."""
    try:
        return _pil(self)
    except ModuleNotFoundError as error:
        raise ImportError("pil() needs Pillow: pip install pillow; numpy() needs nothing more") from error


# The native half asks for `PIL.Image` by its name: Python's own words for its absence do not say what to install.
Image.pil = _pil_or_reason  # type: ignore[method-assign]


class Result:
    """Pictures of one call, with their seeds and the records of their making."""

    seeds: list[int]
    """The seed of each picture."""
    answer: str | None
    """What the LLM answered, where its answer is the conditioning."""
    certainty: float | None
    """The probability of the answer's least certain token, 0 to 1."""
    unknown: str | None
    """The name of what the LLM does not know, where its answer says so."""
    alternatives: list[tuple[str, float]]
    """What else the LLM could have answered, where it was not sure or named something unknown: answers with the probability of the
    token that differs."""
    metadata: list[dict[str, Any]]
    """What made each picture: the model, the prompt, the seed, all settings. PNG files hold it too."""
    prompt_tokens: tuple[int, int]
    """Tokens of the prompt that the LLM read, and tokens at its end that were left out."""

    def __init__(self, painted: list[Painted]) -> None:
        self._painted = painted
        self._images: list[PILImage] | None = None
        self.seeds = [one.seed for one in painted]
        self.answer = painted[0].answer
        self.certainty = painted[0].certainty
        self.unknown = painted[0].unknown
        self.alternatives = painted[0].alternatives
        self.metadata = [json.loads(one.metadata) for one in painted]
        self.prompt_tokens = painted[0].prompt_tokens

    @property
    def images(self) -> list[PILImage]:
        """The pictures as PIL's. Without Pillow they are `x2i.Image`s, which have `numpy()`, `size` and `tobytes()`."""
        images = self._images
        if images is None:
            try:
                images = [one.image.pil() for one in self._painted]
            except ImportError:
                images = [cast("PILImage", one.image) for one in self._painted]
            self._images = images
        return images

    @property
    def arrays(self) -> list[NDArray[np.uint8]]:
        """The pictures as arrays of numpy, `[height, width, 3]` in uint8."""
        return [one.image.numpy() for one in self._painted]

    def png(self, index: int = 0) -> bytes:
        """A PNG file of a picture, with its record: `x2i generate --from` paints it again."""
        return self.file("png", index)

    def file(self, format: Literal["png", "jpeg", "webp"], index: int = 0, quality: int = 95) -> bytes:
        """A file of a picture, with its record; quality is JPEG's, from 1 to 100."""
        if format not in ("png", "jpeg", "webp"):
            raise InputError(f"format: {format} is none of png, jpeg and webp", "format")
        return self._painted[index].file(format, _quality(quality))

    def save(self, path: str | os.PathLike[str], index: int = 0, quality: int = 95) -> None:
        """Writes a picture with its record, whole or not at all: a PNG, JPEG or WebP by the name's end."""
        self._painted[index].save(path, _quality(quality))

    def __len__(self) -> int:
        return len(self._painted)

    def __iter__(self) -> Iterator[PILImage]:
        return iter(self.images)

    def __repr__(self) -> str:
        return f"<x2i.Result of {len(self)} with seeds {self.seeds}>"


def _quality(quality: int) -> int:
    if not 1 <= quality <= 100:
        raise InputError(f"quality: {quality} is not between 1 and 100", "quality")
    return quality


class Conditioning:
    """A prompt's conditioning, in place of what FLUX takes of T5 and CLIP: `txt, vec = pipe.encode(...)`."""

    txt: NDArray[np.float32]
    """Replaces T5's hidden states: `[1, tokens, text width]`."""
    vec: NDArray[np.float32]
    """Replaces CLIP's pooled state: `[1, pooled width]`."""
    answer: str | None
    """What the LLM answered, where its answer is the conditioning."""

    def __init__(self, txt: NDArray[np.float32], vec: NDArray[np.float32], answer: str | None) -> None:
        self.txt = txt
        self.vec = vec
        self.answer = answer

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter((self.txt, self.vec))

    def __repr__(self) -> str:
        return f"<x2i.Conditioning txt {self.txt.shape} vec {self.vec.shape}>"
