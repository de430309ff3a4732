"""The weights of a model's parts, for programs that have their own graph."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Literal

from x2i import _x2i

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def weights(
    model: str | os.PathLike[str], part: Literal["flux", "vae"]
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """A part's config and its tensors in float32, under the names of BFL's checkpoints.

    Raises `x2i.Error` where the model or one of its files can't be read.
    """
    import numpy as np

    config, tensors = _x2i.weights(os.fspath(model), part)
    return json.loads(config), {name: np.asarray(array) for name, array in tensors}
