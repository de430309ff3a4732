"""A double of ComfyUI's API, as far as the nodes use it, for tests without ComfyUI."""
