"""Pictures from text, pictures, videos and sounds, with X2I's models.

>>> import x2i
>>> pipe = x2i.Pipeline.from_pretrained("emoji")
>>> result = pipe("a red apple", seed=7)
>>> result.images[0].save("apple.png")
"""

from __future__ import annotations

from x2i._errors import Cancelled, Error, InputError, ModelWarning
from x2i._inputs import AudioInput, ImageInput, Turn, VideoInput
from x2i._pipeline import Callback, Defaults, Device, Pipeline, devices
from x2i._result import Conditioning, Result
from x2i._train import train
from x2i._weights import weights
from x2i._x2i import VERSION as __version__
from x2i._x2i import Image, Progress

__all__ = [
    "AudioInput",
    "Callback",
    "Cancelled",
    "Conditioning",
    "Defaults",
    "Device",
    "Error",
    "Image",
    "ImageInput",
    "InputError",
    "ModelWarning",
    "Pipeline",
    "Progress",
    "Result",
    "Turn",
    "VideoInput",
    "__version__",
    "devices",
    "train",
    "weights",
]
