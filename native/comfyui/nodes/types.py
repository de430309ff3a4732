"""The types of the nodes' own sockets."""

from __future__ import annotations

from comfy_api.latest import io

Model = io.Custom("X2I_MODEL")
Images = io.Custom("X2I_IMAGES")
Turns = io.Custom("X2I_TURNS")
Control = io.Custom("X2I_CONTROL")

CATEGORY = "X2I"
