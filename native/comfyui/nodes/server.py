"""A server, `x2i serve`, which computes in place of the package."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any


class Server:
    """The routes of a server that the nodes use."""

    def __init__(self, address: str) -> None:
        self._address = address

    def _open(self, path: str) -> Any:
        try:
            return urllib.request.urlopen(self._address + path, timeout=5)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ValueError(f"server: {self._address} does not answer: {reason}") from None

    def encode(self, handle: Any, call: dict[str, Any]) -> Any:
        self._open("/health")
        raise NotImplementedError
