"""ComfyUI's pictures, videos and sounds as those of the package, and back."""

from __future__ import annotations

from typing import Any

import numpy as np


def array(tensor: Any) -> np.ndarray:
    """A tensor's numbers, as float32, on the host."""
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())


def pictures(images: Any) -> list[np.ndarray]:
    """A batch `[batch, height, width, channels]` of 0 to 1, or the list that X2I Images gives."""
    if images is None:
        return []
    if isinstance(images, list):
        return images
    return [np.clip(picture, 0, 1) for picture in array(images)]


def only(images: Any, argument: str) -> np.ndarray:
    """The picture of a batch of one.

    Raises ValueError for several.
    """
    found = pictures(images)
    if len(found) != 1:
        raise ValueError(f"{argument}: {len(found)} images; give one")
    return found[0]


def video(video: Any) -> tuple[np.ndarray, float]:
    """Frames and their rate."""
    parts = video.get_components()
    return np.clip(array(parts.images), 0, 1), float(parts.frame_rate)


def audio(audio: Any) -> tuple[np.ndarray, int]:
    """Samples `[channels, samples]` and their rate.

    Raises ValueError for a batch of several.
    """
    waveform = array(audio["waveform"])
    if waveform.ndim != 3 or waveform.shape[0] != 1:
        raise ValueError(f"audio: a batch of shape {waveform.shape}; give one sound")
    # The mean of the channels; a sound of fewer samples than channels would be taken for its transpose.
    return waveform[0].mean(axis=0), int(audio["sample_rate"])


def tensor(values: Any) -> Any:
    """An array as a tensor that shares its memory."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values))


def batch(arrays: list[Any]) -> Any:
    """Pictures in uint8 as a batch of 0 to 1."""
    return tensor(np.stack(arrays).astype(np.float32) / 255)
