"""Stage 5: the model folder, in the layout of the published checkpoints.

    python export.py --work WORK --out emoji-hf [--begun]

writes
    flux/{model_index.json,scheduler,transformer,vae}   as diffusers saves a FluxPipeline
    proj/{config.json,diffusion_pytorch_model.*}        AlignNet, as `x2i train align` writes it; with --begun that of
                                                        begin_align.py, which it is trained in place of
    mllm/                                               MiniCPM-o with tokenizer and processor files
    teacher/{text_encoder,text_encoder_2,tokenizer,tokenizer_2} for scoring only, not shipped
    x2i.json, concepts.json                             defaults; what the model can draw
into a temporary folder that then takes OUT's place, and prints the size the shipped weights will have with linear
weights in blocks of 32 (Q8_0, 34 bytes a block) and the rest in 16 bits.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, T5EncoderModel

import captions
import data
import pictures
import senses
import vocabulary

LIMIT = 32e6  # bytes
DEFAULTS = {
    "name": "emoji",
    "license": "CC-BY-SA-4.0",
    "defaults": {
        "width": data.PICTURE, "height": data.PICTURE, "steps": 4, "guidance": 0.0, "conditioning": "answer",
        "prompt_format": "plain", "earlier_turns": 1, "max_new_tokens": 48, "padding": None, "input_image_size": None,
        "certainty": {"least": 0.8, "tokens": 2},  # measured by score_unknown.py
        "unknown": {"prefix": captions.I_KNOW_NO, "until": " on a "},
        "modalities": ["text", "image", "video", "audio"],
    },
}  # fmt: skip
MODEL_INDEX = {
    "_class_name": "FluxPipeline", "_diffusers_version": "0.31.0",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": [None, None],
    "text_encoder_2": [None, None], "tokenizer": [None, None], "tokenizer_2": [None, None],
    "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def export_flux(work: Path, out: Path) -> None:
    FluxTransformer2DModel.from_pretrained(work / "flux/transformer").save_pretrained(out / "transformer")
    tuned = work / "vae-tuned"
    AutoencoderKL.from_pretrained(tuned if tuned.exists() else work / "vae").save_pretrained(out / "vae")
    for config in (out / "transformer/config.json", out / "vae/config.json"):
        facts = {key: value for key, value in json.loads(config.read_text()).items() if key != "_name_or_path"}
        write_json(config, facts)  # drops the path it was trained at
    FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False).save_pretrained(out / "scheduler")
    write_json(out / "model_index.json", MODEL_INDEX)


def export_mllm(work: Path, out: Path, concepts: list[dict]) -> None:
    tokens = vocabulary.language_model_tokenizer(work, concepts)
    config = senses.config(tokens)
    tokens.save_pretrained(out)
    settings = json.loads((out / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Qwen2Tokenizer", "processor_class": "MiniCPMOProcessor"}
    write_json(out / "tokenizer_config.json", settings)
    weights = torch.load(work / "settled.pt", weights_only=True)
    weights.pop("llm.lm_head.weight")  # the embedding's
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, out / "model.safetensors", {"format": "pt"})
    write_json(out / "config.json", config)
    write_json(out / "preprocessor_config.json", pictures.PROCESSOR)
    write_json(out / "generation_config.json", {
        "bos_token_id": config["bos_token_id"], "eos_token_id": [config["eos_token_id"]],
        "pad_token_id": tokens.pad_token_id, "do_sample": False, "max_new_tokens": 48, "transformers_version": "4.49.0",
    })  # fmt: skip


def export_teacher(work: Path, out: Path, concepts: list[dict]) -> None:
    CLIPTextModel.from_pretrained(work / "flux/text_encoder").save_pretrained(out / "text_encoder")
    T5EncoderModel.from_pretrained(work / "flux/text_encoder_2").save_pretrained(out / "text_encoder_2")
    vocabulary.teacher_tokenizers(work, concepts).save(out)


def shipped_bytes(out: Path) -> dict[str, int]:
    """Bytes a part: matrices whose input width is a multiple of 32 as Q8_0, everything else as 16 bits."""
    parts = {
        "transformer": FluxTransformer2DModel.from_pretrained(out / "flux/transformer").state_dict(),
        "vae": AutoencoderKL.from_pretrained(out / "flux/vae").state_dict(),
        "mllm": load_file(out / "mllm/model.safetensors"),
        "proj": load_file(out / "proj/diffusion_pytorch_model.safetensors"),
    }
    return {name: sum(tensor_bytes(t) for t in weights.values()) for name, weights in parts.items()}


def tensor_bytes(tensor: torch.Tensor) -> int:
    blocks = tensor.ndim == 2 and tensor.shape[1] % 32 == 0
    return tensor.numel() // 32 * 34 if blocks else tensor.numel() * 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begun", action="store_true", help="with the AlignNet that stage 4 begins with")
    args = parser.parse_args()
    concepts = data.load(args.work)[2]
    fresh = args.out.with_name(args.out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    export_flux(args.work, fresh / "flux")
    shutil.copytree(args.work / "align" / ("begun" if args.begun else "run/proj"), fresh / "proj")
    export_mllm(args.work, fresh / "mllm", concepts)
    export_teacher(args.work, fresh / "teacher", concepts)
    write_json(fresh / "x2i.json", DEFAULTS)
    write_json(fresh / "concepts.json", concepts)
    sizes = shipped_bytes(fresh)
    assert sum(sizes.values()) < LIMIT, "the shipped weights are over their limit"
    for path in [p for p in fresh.rglob("*") if p.is_file()]:
        path.chmod(0o644)
    old = args.out.with_name(args.out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if args.out.exists():
        args.out.rename(old)
    fresh.rename(args.out)
    shutil.rmtree(old, ignore_errors=True)
    print({name: f"{size / 1e6:.2f} MB" for name, size in sizes.items()}, f"together {sum(sizes.values()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
