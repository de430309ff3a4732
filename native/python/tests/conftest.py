import shutil
import sys
from pathlib import Path

import pytest

import x2i


@pytest.fixture(scope="session")
def pipe():
    return x2i.Pipeline.from_pretrained("emoji", device="cpu")


@pytest.fixture(scope="session")
def program():
    """The command that the package brings."""
    beside = Path(sys.executable).parent / "x2i"
    found = str(beside) if beside.exists() else shutil.which("x2i")
    assert found, "the package brings the command x2i"
    return found


@pytest.fixture(scope="session")
def picture():
    """A picture whose pixels all differ."""
    import numpy as np

    rows, columns = np.mgrid[0:48, 0:40]
    return np.stack([rows * 5, columns * 6, (rows * columns) % 256], axis=-1).astype(np.uint8)
