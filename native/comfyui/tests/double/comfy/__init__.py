"""A double of ComfyUI's core, as far as the nodes use it."""
