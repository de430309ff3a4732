"""X2I's own nodes (its x2i_comfyui) are replaced by these, so that its published workflow opens."""

from __future__ import annotations

from typing import Any

REPLACEMENTS: list[dict[str, Any]] = [
    {
        "old_node_id": "MLLMLoader",
        "new_node_id": "X2IModel",
        "old_widget_ids": ["mllm_name", "type", "device"],
        # Its model was one file of the LLM; X2I Model takes a folder with all parts, which its user chooses.
        "input_mapping": [{"new_id": "model", "set_value": "emoji"}, {"new_id": "device", "set_value": "auto"}],
        "output_mapping": [{"new_idx": 0, "old_idx": 0}],
    },
    {
        "old_node_id": "ProjLoader",
        "new_node_id": "PrimitiveString",
        "old_widget_ids": ["proj_name", "device"],
        "input_mapping": [{"new_id": "value", "set_value": "AlignNet is in X2I Model's folder: delete this node"}],
        "output_mapping": [],
    },
    {
        "old_node_id": "LoadImagePath",
        "new_node_id": "LoadImage",
        "old_widget_ids": ["image"],
        "input_mapping": [{"new_id": "image", "old_id": "image"}],
        "output_mapping": [{"new_idx": 0, "old_idx": 0}],
    },
    {
        "old_node_id": "MultiImagePaths",
        "new_node_id": "X2IImages",
        "old_widget_ids": [],
        "input_mapping": [
            {"new_id": f"image_{number}", "old_id": f"image_path{number}"} for number in range(1, 5)
        ],
        "output_mapping": [{"new_idx": 0, "old_idx": 0}],
    },
    {
        "old_node_id": "MLLMEncode",
        "new_node_id": "X2IEncode",
        "old_widget_ids": ["text"],
        "input_mapping": [
            {"new_id": "model", "old_id": "mllm"},
            {"new_id": "image", "old_id": "image_paths"},
            {"new_id": "text", "old_id": "text"},
            {"new_id": "guidance", "set_value": 3.5},
            {"new_id": "seed", "set_value": 0},
        ],
        "output_mapping": [{"new_idx": 0, "old_idx": 0}],
    },
]


async def register() -> None:
    """Tells ComfyUI of them, where it knows replacements (releases of 2026)."""
    from comfy_api.latest import ComfyAPI, io

    registry = getattr(ComfyAPI(), "node_replacement", None)
    if registry is None or not hasattr(io, "NodeReplace"):
        return
    for replacement in REPLACEMENTS:
        await registry.register(io.NodeReplace(**replacement))
