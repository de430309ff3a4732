"""Who computes: the package x2i in this process, or a server. Both take the same calls."""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management

from . import models
from .progress import Listener

MISSING = "X2I needs the package x2i; install it for ComfyUI's Python: python -m pip install x2i"


@dataclass(frozen=True)
class Handle:
    """What X2I Model gives: how a model is loaded. It holds no memory; ComfyUI keeps it as long as it likes."""

    place: str
    stamp: str
    device: str = "auto"
    precision: str = "auto"
    memory: str = "auto"
    max_device_memory: str = ""
    keep_loaded: bool = False
    server: str = ""
    loras: tuple[tuple[str, float], ...] = ()
    control_weights: str | None = None

    def with_lora(self, path: str, scale: float) -> Handle:
        return replace(self, loras=(*self.loras, (path, scale)), stamp=f"{self.stamp}\n{models.stamp_of(path)}")

    def with_control(self, weights: str) -> Handle:
        return replace(self, control_weights=weights, stamp=f"{self.stamp}\n{models.stamp_of(weights)}")


@dataclass
class Encoded:
    """A prompt's conditioning."""

    txt: Any
    """`[1, tokens, width]` in float32."""
    vec: Any
    """`[1, width]` in float32."""
    answer: str


@dataclass
class Painted:
    """Pictures of one call."""

    arrays: list[Any]
    """`[height, width, 3]` in uint8, one each."""
    seed: int
    answer: str


class Local:
    """The package, in this process. It keeps one model at most."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._handle: Handle | None = None
        self._pipeline: Any = None

    def encode(self, handle: Handle, call: dict[str, Any]) -> Encoded:
        def work(pipeline: Any) -> Encoded:
            encoded = pipeline.encode(**call, callback=Listener())
            return Encoded(encoded.txt, encoded.vec, encoded.answer or "")

        return self._with(handle, work)

    def paint(self, handle: Handle, call: dict[str, Any]) -> Painted:
        def work(pipeline: Any) -> Painted:
            result = pipeline(**call, preview=True, callback=Listener(call.get("num_images", 1)))
            return Painted(result.arrays, result.seeds[0], result.answer or "")

        return self._with(handle, work)

    def unload(self) -> None:
        """Gives the memory back."""
        with self._lock:
            pipeline, self._pipeline, self._handle = self._pipeline, None, None
            if pipeline is not None:
                pipeline.close()
            gc.collect()

    def _with(self, handle: Handle, work: Any) -> Any:
        x2i = _package()
        with self._lock:
            try:
                return work(self._opened(x2i, handle))
            except x2i.Error as error:
                raise ValueError(str(error)) from None
            finally:
                if not handle.keep_loaded:
                    self.unload()

    def _opened(self, x2i: Any, handle: Handle) -> Any:
        if self._pipeline is not None and replace(handle, keep_loaded=False) == self._handle:
            return self._pipeline
        self.unload()
        if handle.device != "cpu":
            make_room(models.size(handle.place))
        self._pipeline = x2i.Pipeline.from_pretrained(
            handle.place,
            device=handle.device,
            precision=handle.precision,
            memory=handle.memory,
            max_device_memory=handle.max_device_memory or None,
            loras=handle.loras,
            control_weights=handle.control_weights,
            callback=Listener(),
        )
        self._handle = replace(handle, keep_loaded=False)
        return self._pipeline


def _package() -> Any:
    try:
        import x2i
    except ImportError as error:
        raise RuntimeError(MISSING) from error
    return x2i


def make_room(size: int) -> None:
    """Asks ComfyUI to unload models of its own from the GPU that both share."""
    device = comfy.model_management.get_torch_device()
    if getattr(device, "type", "cpu") != "cpu":
        comfy.model_management.free_memory(size, device)
        comfy.model_management.soft_empty_cache()


LOCAL = Local()


def of(handle: Handle) -> Any:
    """Who computes for a model."""
    if handle.server:
        from .server import Server

        return Server(handle.server)
    return LOCAL
