"""The command `x2i`: the same program as the binary."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import NoReturn

from x2i import _x2i


def main() -> NoReturn:
    """Runs the command of this process's arguments."""
    # `x2i bench` starts itself again; its own file is Python's interpreter.
    started_by = shutil.which(sys.argv[0])
    if started_by is not None:
        os.environ.setdefault("X2I_PROGRAM", started_by)
    # Python's own handler would wait for Python; the program sets one where work can be cancelled.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_x2i.main(["x2i", *sys.argv[1:]]))
