"""Models in ComfyUI's own folders: `models/x2i` holds X2I's, a folder each; LoRAs and LightControl's weights are where
others are."""

from __future__ import annotations

import os

import folder_paths

KIND = "x2i"
EMBEDDED = "emoji"
"""The small model that the package holds."""
NONE = "none"


def add_folder() -> None:
    """Tells ComfyUI of `models/x2i`; extra_model_paths.yaml may name others under `x2i`."""
    folder_paths.add_model_folder_path(KIND, os.path.join(folder_paths.models_dir, KIND), is_default=True)


def folders() -> dict[str, str]:
    """The folders of models by their names."""
    found: dict[str, str] = {}
    for root in folder_paths.get_folder_paths(KIND):
        if not os.path.isdir(root):
            continue
        for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
            if entry.is_dir() and not entry.name.startswith("."):
                found.setdefault(entry.name, entry.path)
    return found


def names() -> list[str]:
    """What X2I Model offers."""
    return [EMBEDDED, *folders()]


def place(name: str) -> str:
    """Where a model is.

    Raises ValueError for one that is not there.
    """
    if name == EMBEDDED:
        return name
    found = folders().get(name)
    if found is None:
        roots = ", ".join(folder_paths.get_folder_paths(KIND))
        raise ValueError(f"model: there is no folder {name} in {roots}; put X2I's model there, or choose another one")
    return found


def file(kind: str, name: str, argument: str) -> str:
    """The path of a file in one of ComfyUI's folders.

    Raises ValueError for one that is not there.
    """
    path = folder_paths.get_full_path(kind, name)
    if path is None:
        roots = ", ".join(folder_paths.get_folder_paths(kind))
        raise ValueError(f"{argument}: there is no file {name} in {roots}")
    return path


def stamp(place: str) -> str:
    """Changes when a file of a model does."""
    if place == EMBEDDED:
        return place
    walked = os.walk(place, followlinks=True)
    return "\n".join(stamp_of(os.path.join(folder, name)) for folder, _, files in walked for name in sorted(files))


def stamp_of(path: str) -> str:
    """Changes when a file does."""
    about = os.stat(path)
    return f"{path}:{about.st_size}:{about.st_mtime_ns}"


def fingerprint(kind: str, name: str) -> str:
    """Changes when a file in one of ComfyUI's folders does."""
    path = folder_paths.get_full_path(kind, name)
    return name if path is None else stamp_of(path)


def size(place: str) -> int:
    """Bytes of a model's files."""
    if place == EMBEDDED:
        return 20 << 20
    walked = os.walk(place, followlinks=True)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, files in walked for name in files)
