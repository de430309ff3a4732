"""The workflows of docs/comfyui.md and example_workflows, in the form of ComfyUI's API, on the embedded model."""

from __future__ import annotations

from typing import Any

SEED = 7
TEXT = "a red apple"

MODEL = {"class_type": "X2IModel", "inputs": {"model": "emoji", "device": "cpu", "keep_loaded": True}}


def load_image(name: str) -> dict[str, Any]:
    return {"class_type": "LoadImage", "inputs": {"image": name}}


def save(images: list[Any]) -> dict[str, Any]:
    return {"class_type": "SaveImage", "inputs": {"images": images, "filename_prefix": "x2i"}}


def sampled(encode: dict[str, Any], others: dict[str, Any] | None = None, model: dict[str, Any] = MODEL) -> dict[str, Any]:
    """X2I Encode before ComfyUI's own FLUX sampler."""
    inputs = {"model": ["1", 0], "text": TEXT, "guidance": 3.5, "seed": SEED, **encode}
    return {
        "1": model,
        "2": {"class_type": "X2IEncode", "inputs": inputs},
        "3": {"class_type": "X2IEmojiFlux", "inputs": {}},
        "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["3", 0],
                "positive": ["2", 0],
                "negative": ["2", 0],  # of no effect at a cfg of 1
                "latent_image": ["4", 0],
                "seed": SEED,
                "steps": 4,
                "cfg": 1.0,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1.0,
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["3", 1]}},
        "7": save(["6", 0]),
        **(others or {}),
    }


def generated(values: dict[str, Any], others: dict[str, Any] | None = None) -> dict[str, Any]:
    """X2I Generate."""
    inputs = {"model": ["1", 0], "text": TEXT, "seed": SEED, **values}
    graph = {"1": MODEL, "2": {"class_type": "X2IGenerate", "inputs": inputs}, "7": save(["2", 0])}
    return {**graph, **(others or {})}


def batch() -> dict[str, Any]:
    return {
        "11": load_image("a.png"),
        "12": load_image("b.png"),
        "13": {"class_type": "ImageBatch", "inputs": {"image1": ["11", 0], "image2": ["12", 0]}},
    }


def sizes() -> dict[str, Any]:
    return {"11": load_image("a.png"), "12": load_image("tall.png")}


VIDEO = {"11": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}}}
AUDIO = {"11": {"class_type": "LoadAudio", "inputs": {"audio": "sound.wav"}}}

DIALOGUE = {
    "11": load_image("a.png"),
    "12": {"class_type": "X2IEncode", "inputs": {"model": ["1", 0], "text": "what is it", "image": ["11", 0], "guidance": 3.5, "seed": SEED}},
    "13": {"class_type": "X2ITurn", "inputs": {"text": "what is it", "image": ["11", 0], "answer": ["12", 1]}},
}

# X2I's published workflow: two pictures and a text to conditioning, sampled by BasicGuider. Its FLUX is the emoji one here.
PUBLISHED = {
    "1": {"class_type": "MLLMLoader", "inputs": {"mllm_name": "qwen2.5-vl-3b-instruct.pt", "type": "qwenvl2.5", "device": "default"}},
    "2": {"class_type": "ProjLoader", "inputs": {"proj_name": "qwen2.5-vl-3b_proj.pt", "device": "default"}},
    "3": {"class_type": "LoadImagePath", "inputs": {"image": "a.png"}},
    "4": {"class_type": "LoadImagePath", "inputs": {"image": "tall.png"}},
    "5": {"class_type": "MultiImagePaths", "inputs": {"image_path1": ["3", 0], "image_path2": ["4", 0]}},
    "6": {"class_type": "MLLMEncode", "inputs": {"mllm": ["1", 0], "proj": ["2", 0], "image_paths": ["5", 0], "text": TEXT}},
    "8": {"class_type": "X2IEmojiFlux", "inputs": {}},
    "9": {"class_type": "BasicGuider", "inputs": {"model": ["8", 0], "conditioning": ["6", 0]}},
    "10": {"class_type": "BasicScheduler", "inputs": {"model": ["8", 0], "scheduler": "simple", "steps": 4, "denoise": 1.0}},
    "11": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "12": {"class_type": "RandomNoise", "inputs": {"noise_seed": SEED}},
    "13": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "14": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {"noise": ["12", 0], "guider": ["9", 0], "sampler": ["11", 0], "sigmas": ["10", 0], "latent_image": ["13", 0]},
    },
    "15": {"class_type": "VAEDecode", "inputs": {"samples": ["14", 0], "vae": ["8", 1]}},
    "16": save(["15", 0]),
}

WORKFLOWS: dict[str, dict[str, Any]] = {
    "text": sampled({}),
    "image_batch": sampled({"image": ["13", 0]}, batch()),
    "images_of_two_sizes": sampled({"image": ["11", 0], "image_2": ["12", 0]}, sizes()),
    "video": sampled({"video": ["11", 0]}, VIDEO),
    "audio": sampled({"audio": ["11", 0]}, AUDIO),
    "dialogue": sampled({"text": "paint it", "turns": ["13", 0]}, DIALOGUE),
    "generate": generated({}),
    "generate_image": generated({"image": ["11", 0], "init": ["11", 0], "strength": 0.8}, {"11": load_image("a.png")}),
    "lightcontrol": generated(
        {"control": ["12", 0]},
        {
            "11": load_image("a.png"),
            "12": {
                "class_type": "X2ILightControl",
                "inputs": {"weights": "light.safetensors", "image": ["11", 0], "scale": 0.7, "hint": "trained"},
            },
        },
    ),
    "lora": generated(
        {"model": ["11", 0]},
        {"11": {"class_type": "X2ILora", "inputs": {"model": ["1", 0], "lora": "style.safetensors", "strength": 50.0}}},
    ),
    "unload": sampled(
        {},
        {
            "8": {"class_type": "X2IUnload", "inputs": {"value": ["2", 0]}},
            "9": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
        },
    ),
}


def replaced(graph: dict[str, Any], replacements: list[dict[str, Any]]) -> dict[str, Any]:
    """What ComfyUI makes of a graph with old nodes: each by its replacement's mapping; links of no mapping are dropped."""
    by_id = {replacement["old_node_id"]: replacement for replacement in replacements}
    made = {}
    for key, node in graph.items():
        replacement = by_id.get(node["class_type"])
        if replacement is None:
            made[key] = node
            continue
        inputs = {}
        for mapping in replacement["input_mapping"]:
            if "set_value" in mapping:
                inputs[mapping["new_id"]] = mapping["set_value"]
            elif mapping["old_id"] in node["inputs"]:
                inputs[mapping["new_id"]] = node["inputs"][mapping["old_id"]]
        made[key] = {"class_type": replacement["new_node_id"], "inputs": inputs}
    return made
