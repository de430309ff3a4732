"""Training: the runs of `x2i train`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from x2i import _x2i
from x2i._errors import InputError

MOST_SETTINGS = 1 << 20
"""Bytes of a file of settings."""


def train(
    what: Literal["align", "control", "lora"],
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], object] | None = None,
    **settings: Any,
) -> bool:
    """Trains an AlignNet, LightControl's nets or a LoRA; goes on with the run that `out` holds.

    `config` is a TOML file or a mapping of the same keys; `settings` replace its values (`learning_rate` is the key
    `learning-rate`). `callback` hears what `x2i train --json` prints, as dictionaries; False from it ends the run after an
    update, with its state saved, as Ctrl-C does. Returns True when the run has ended, False when the callback ended it.

    Raises `x2i.Error` for settings, data or a model that can't be used.
    """
    name, text = "settings", ""
    given: dict[str, Any] = {}
    if isinstance(config, Mapping):
        given.update(config)
    elif config is not None:
        name = os.fspath(config)
        if os.path.isfile(name) and os.path.getsize(name) > MOST_SETTINGS:
            raise InputError(f"config: {name} is larger than 1 MiB; is it the right file?", "config")
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"config: {name}: {error}", "config") from error
    given.update(settings)
    given = {key.replace("_", "-"): value for key, value in given.items() if value is not None}
    try:
        values = json.dumps(given, default=os.fspath, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"config: {error}", "config") from error
    return _x2i.train(what, name, text, values, lambda line: callback(json.loads(line)) if callback else None)
