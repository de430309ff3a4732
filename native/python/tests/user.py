"""A user's script, which `mypy --strict` and `pyright` check. It is run, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import x2i


def hear(progress: x2i.Progress) -> bool:
    if progress.phase == "denoise" and progress.step is not None and progress.steps is not None:
        print(f"{progress.step}/{progress.steps}")
    preview: x2i.Image | None = progress.preview
    return preview is None or preview.width <= 1024


def paint(pipe: x2i.Pipeline, folder: Path) -> list[int]:
    frames: npt.NDArray[np.uint8] = np.zeros((4, 32, 32, 3), np.uint8)
    sound = np.zeros(16_000, np.float32)
    result = pipe(
        "a red apple",
        images=[frames[0], (frames[1] / 255).astype(np.float32)],
        video=(frames, 2.0),
        audio=(sound, 16_000),
        turns=[{"prompt": "hello", "answer": "hi"}],
        seed=7,
        steps=2,
        num_images=2,
        preview=True,
        callback=hear,
    )
    first = result.images[0]
    width: int = first.size[0]
    assert width == pipe.defaults.width
    result.save(folder / "apple.png")
    answer: str | None = result.answer
    print(answer, result.metadata[0]["seed"], result.arrays[1].shape, len(result.png(1)))
    return result.seeds


def encode(pipe: x2i.Pipeline) -> tuple[int, ...]:
    conditioning = pipe.encode("a red apple")
    txt: npt.NDArray[np.float32]
    txt, vec = conditioning
    return (*txt.shape, *vec.shape)


def main(folder: Path) -> None:
    device: x2i.Device = x2i.devices()[0]
    with x2i.Pipeline.from_pretrained("emoji", device=device.id, max_device_memory="1GiB", loras=[]) as pipe:
        print(paint(pipe, folder), encode(pipe), pipe.name)
        try:
            pipe("", steps=0)
        except x2i.InputError as error:
            print(error.argument)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
