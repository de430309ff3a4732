"""Progress, previews and interruption in ComfyUI's own ways."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils

PREVIEW_SIDE = 512
"""Pixels of a preview's longer side."""


class Listener:
    """Hears of loading, encoding and painting. ComfyUI's exception for an interruption ends the work within a block."""

    def __init__(self, pictures: int = 1) -> None:
        self._bar: Any = None
        self._pictures = pictures
        self._painted = 0
        self._phase = ""

    def __call__(self, progress: Any) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self._phase == "decode" and progress.phase != "decode":
            self._painted += 1
        self._phase = progress.phase
        preview = None
        if progress.preview is not None:
            preview = ("JPEG", progress.preview.pil(), PREVIEW_SIDE)
        total = max(progress.total, 1)
        done, total = (self._painted * total + progress.done, total * self._pictures)
        if self._bar is None:
            self._bar = comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total, preview)
