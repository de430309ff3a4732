"""What nodes import: the classes of ComfyUI 0.3.64, with its names of arguments; an unknown one is a TypeError."""

from . import io

__all__ = ["ComfyAPI", "ComfyExtension", "io"]


class ComfyExtension:
    async def on_load(self):
        pass

    async def get_node_list(self):
        raise NotImplementedError


class Registry:
    """Replacements of nodes, as of the releases of 2026."""

    registered = []

    async def register(self, replacement):
        self.registered.append(replacement)


class ComfyAPI:
    node_replacement = Registry()
