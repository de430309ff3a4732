"""A server, `x2i serve`, which computes in place of the package: its jobs, their events and their outputs."""

from __future__ import annotations

import io
import json
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np

from .progress import PREVIEW_SIDE

CONNECT = 10.0
"""Seconds that an answer may take; events keep their connection."""
EVENTS = 60.0
"""Seconds between two events; a server that has nothing to say says so every 10."""
ASK = 0.1
"""Seconds between two looks at ComfyUI's interruption."""
OVER = ("succeeded", "canceled", "failed", "expired")


class Server:
    """The routes of a server that the nodes use. The variable X2I_API_KEY holds its key."""

    def __init__(self, address: str) -> None:
        self._address, _, self._model = address.partition("#")
        self._address = self._address.rstrip("/")
        if not self._address.startswith(("http://", "https://")):
            raise ValueError(f"server: {address} is no address; give one such as http://gpu:7860")

    def encode(self, handle: Any, call: dict[str, Any]) -> Any:
        from .backend import Encoded

        job = self._run(handle, call, {"wanted": "conditioning"})
        tensors, about = read_safetensors(self._output(job, 0))
        return Encoded(tensors["txt"], tensors["vec"], about.get("answer", job.get("answer") or ""))

    def paint(self, handle: Any, call: dict[str, Any]) -> Any:
        from PIL import Image

        from .backend import Painted

        job = self._run(handle, call, {"previews": True})
        files = [self._output(job, output["index"]) for output in job["outputs"]]
        arrays = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
        return Painted(arrays, job["outputs"][0]["seed"], job.get("answer") or "")

    def _run(self, handle: Any, call: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
        """Orders a job and waits for its end; an interruption cancels it."""
        job = self._json("/v1/x2i/jobs", {**self._body(handle, call), **others})
        told: queue.Queue[tuple[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, args=(job["urls"]["events"], told), daemon=True).start()
        bar = comfy.utils.ProgressBar(1000)
        value = 0
        try:
            while job["status"] not in OVER:
                comfy.model_management.throw_exception_if_processing_interrupted()
                try:
                    kind, said = told.get(timeout=ASK)
                except queue.Empty:
                    continue
                if kind == "status":
                    job = said
                elif kind == "progress":
                    value = int(1000 * said["value"])
                    bar.update_absolute(value, 1000)
                elif kind == "preview":
                    bar.update_absolute(value, 1000, ("JPEG", picture(said["b64_json"]), PREVIEW_SIDE))
                elif kind == "error":
                    raise ValueError(f"server: {self._address}: {said}")
                elif kind == "end":
                    job = self._json(job["urls"]["self"])  # the job is the truth
        except BaseException:
            self._cancel(job)
            raise
        if job["status"] != "succeeded":
            reason = (job.get("error") or {}).get("message") or f"the job is {job['status']}"
            raise ValueError(reason)
        return job

    def _cancel(self, job: dict[str, Any]) -> None:
        try:
            self._json(job["urls"]["cancel"], {})
        except ValueError:
            pass  # what was raised before says more

    def _body(self, handle: Any, call: dict[str, Any]) -> dict[str, Any]:
        """The order of a call of the package."""
        body: dict[str, Any] = {"parts": self._parts(call)}
        if self._model:
            body["model"] = self._model
        turns = [{"parts": self._parts(turn), "answer": turn["answer"]} for turn in call.get("turns", [])]
        if turns:
            body["turns"] = turns
        for name in ("seed", "width", "height", "steps", "guidance", "conditioning", "strength"):
            if name in call:
                body[name] = call[name]
        if "num_images" in call:
            body["n"] = call["num_images"]
        if "init" in call:
            body["init_image"] = self._upload(png(call["init"]))
        if "control" in call:
            control = {"image": self._upload(png(call["control"])), "scale": call["control_scale"]}
            if "control_hint" in call:
                control["hint"] = call["control_hint"]
            body["control"] = control
        if handle.loras:
            body["loras"] = [{"name": Path(path).stem, "scale": scale} for path, scale in handle.loras]
        return body

    def _parts(self, call: dict[str, Any]) -> list[dict[str, str]]:
        parts = [{"image": self._upload(png(image))} for image in call.get("images", [])]
        if "video" in call:
            parts.append({"video": self._upload(animation(*call["video"]))})
        if "audio" in call:
            parts.append({"audio": self._upload(wave(*call["audio"]))})
        if call.get("prompt") or not parts:
            parts.append({"text": call.get("prompt", "")})
        return parts

    def _upload(self, file: bytes) -> str:
        return str(self._json("/v1/x2i/uploads", file)["id"])

    def _output(self, job: dict[str, Any], index: int) -> bytes:
        with self._open(f"{job['urls']['self']}/outputs/{index}") as answer:
            return bytes(answer.read())

    def _listen(self, path: str, told: queue.Queue[tuple[str, Any]]) -> None:
        try:
            with self._open(path, timeout=EVENTS) as answer:
                for event in events(answer):
                    told.put(event)
            told.put(("end", None))
        except (OSError, ValueError) as error:
            told.put(("error", str(error)))

    def _json(self, path: str, body: Any = None) -> Any:
        with self._open(path, body) as answer:
            return json.loads(answer.read())

    def _open(self, path: str, body: Any = None, timeout: float = CONNECT) -> Any:
        """A server's answer.

        Raises ValueError with the server's own sentence, or that it does not answer.
        """
        headers = {}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        key = os.environ.get("X2I_API_KEY")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._address + path, body, headers)
        try:
            return urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(sentence(error.code, error.read())) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ValueError(f"server: {self._address} does not answer: {reason}") from None


def sentence(status: int, body: bytes) -> str:
    """What a server says of an error."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"server: it answers {status}; is it `x2i serve`?"


def events(lines: Any) -> Iterator[tuple[str, Any]]:
    """Server-sent events with JSON."""
    name, data = "", ""
    for line in lines:
        text = line.decode().rstrip("\r\n")
        if text.startswith("event:"):
            name = text[6:].strip()
        elif text.startswith("data:"):
            data += text[5:].strip()
        elif not text and data:
            yield name, json.loads(data)
            name, data = "", ""


def picture(text: str) -> Any:
    import base64

    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


def pil(array: Any) -> Any:
    from PIL import Image

    pixels = np.asarray(array)
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)


def png(array: Any) -> bytes:
    """A picture as a file without loss."""
    file = io.BytesIO()
    pil(array).save(file, "PNG", compress_level=1)
    return file.getvalue()


def animation(frames: Any, fps: float) -> bytes:
    """A video as an animated PNG, without loss; a server reads it without ffmpeg."""
    first, *others = [pil(frame).convert("RGB") for frame in frames]
    file = io.BytesIO()
    first.save(file, "PNG", save_all=True, append_images=others, duration=1000 / fps, compress_level=1)
    return file.getvalue()


def wave(samples: Any, rate: int) -> bytes:
    """A sound as a WAV file of floats, without loss."""
    data = np.ascontiguousarray(samples, "<f4").tobytes()
    number = lambda value, size: int(value).to_bytes(size, "little")
    form = number(3, 2) + number(1, 2) + number(rate, 4) + number(4 * rate, 4) + number(4, 2) + number(32, 2)
    chunks = b"fmt " + number(len(form), 4) + form + b"data" + number(len(data), 4) + data
    return b"RIFF" + number(4 + len(chunks), 4) + b"WAVE" + chunks


def read_safetensors(file: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors of a file in f32, and its metadata."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    about = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(file[8 + length + begin : 8 + length + end], "<f4")
        tensors[name] = values.reshape(entry["shape"]).copy()
    return tensors, about
