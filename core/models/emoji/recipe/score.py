"""Scores the pictures the x2i binary makes, and writes ../SCORES.md and ../scores.png.

    python score.py --work WORK --hf emoji-hf --binary target/release/x2i [--count 192]

Scenes in eight languages, half of which no stage trained on, go through `x2i generate --batch` along three paths:
    answer           AlignNet sees the language model's answer (this model's default)
    prompt           AlignNet sees the prompt's own tokens (English only: it was not trained on them)
    unseen phrasing  the answer path, with a caption phrased as no training caption was
A picture counts as what its nearest neighbour among all real pictures shows, by squared distance of the pixels. Beside
them stands the teacher (T5 and CLIP, in Python). Nothing of ours is computed in Python but the comparison.

The teacher is drawn anew where `--hf` has its encoders. After restore.py it has not, since they are not shipped: then its
numbers are those it had with the same FLUX and VAE, which are known for draw 0 (TEACHER_WAS).
"""

import argparse
import datetime
import json
import random
import shlex
import subprocess
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from PIL import Image
from transformers import CLIPTextModel, T5EncoderModel

import captions
import data
import teacher
import vocabulary
from training import seed_everything

SEEDS_PER_DRAW = 1_000_000  # training draws no per-picture seeds; the reports of stages 2 and 4 use small ones
TEACHER_WAS = {(0, 192): teacher.Accuracy(0.979, 0.995, 0.995)}  # by draw and count
NOT_SHIPPED = """ The teacher's numbers are those it had
with the same FLUX, VAE, scenes and seeds before: its encoders are not shipped."""
TRAINED_ANEW = """ The teacher's encoders were trained
anew under the shipped transformer; those that it was trained with, which are lost, had {} here."""
PATHS = ("answer", "prompt", "unseen phrasing")
GRID_COLUMNS = 12
MODEL_FOLDER = Path(__file__).resolve().parent.parent


def first_seed(draw: int) -> int:
    return (draw + 1) * SEEDS_PER_DRAW


def teacher_pictures(hf: Path, concepts: list[dict], scenes: list[data.Scene], seed: int) -> torch.Tensor:
    tokenizers = vocabulary.TeacherTokenizers.load(hf / "teacher")
    t5 = T5EncoderModel.from_pretrained(hf / "teacher/text_encoder_2").eval()
    clip = CLIPTextModel.from_pretrained(hf / "teacher/text_encoder").eval()
    transformer = FluxTransformer2DModel.from_pretrained(hf / "flux/transformer").eval()
    vae = AutoencoderKL.from_pretrained(hf / "flux/vae").eval()
    texts = [captions.canonical(concepts, scene) for scene in scenes]
    with torch.no_grad():
        embeds, pooled = teacher.encode(t5, clip, *tokenizers.inputs(texts))
    return teacher.decode(vae, teacher.sample(transformer, embeds, pooled, seed=seed))


def requests(concepts: list[dict], scenes: list[data.Scene], language: str, path: str, draw: int) -> list[dict]:
    """One JSON line a picture; captions and seeds depend on nothing but the draw and the scene's number."""
    rng = random.Random(17 + draw)
    lines = []
    for number, scene in enumerate(scenes):
        caption = captions.scoring_caption(concepts, scene, language, rng)
        if path == "unseen phrasing":
            caption = captions.held_out_caption(concepts, scene, language)
        lines.append({
            "prompt": caption, "seed": first_seed(draw) + number, "answer": path != "prompt",
            "out": f"{language}-{path.replace(' ', '-')}-{number:03}.png",
        })  # fmt: skip
    return lines


def run_binary(binary: str, options: list[str], lines: list[dict], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    batch = folder / "prompts.jsonl"
    batch.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    subprocess.run([binary, "generate", "--batch", str(batch), "-o", str(folder), *options], check=True)


def read_pictures(folder: Path, lines: list[dict]) -> torch.Tensor:
    pictures = [np.asarray(Image.open(folder / line["out"]).convert("RGB")) for line in lines]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def teacher_note(args) -> str:
    was = TEACHER_WAS.get((args.draw, args.count))
    if not (args.hf / "teacher").exists():
        return NOT_SHIPPED
    return TRAINED_ANEW.format(was) if was else ""


def table(teacher_score: teacher.Accuracy, scores: dict) -> str:
    def row(name: str, path: str, accuracy: teacher.Accuracy) -> str:
        ratio = accuracy.concept / teacher_score.concept
        return (
            f"| {name} | {path} | {accuracy.concept:.3f} | {accuracy.style:.3f} | {accuracy.background:.3f} "
            f"| {ratio:.3f} |"
        )

    lines = ["| prompts | path | concept | style | background | concept / teacher |", "|---|---|---|---|---|---|"]
    lines.append(row("en", "teacher (T5 and CLIP, in Python)", teacher_score))
    lines += [row(language, path, accuracy) for (path, language), accuracy in scores.items()]
    return "\n".join(lines)


def write_scores(args, teacher_score, scores: dict) -> None:
    shipped = sorted(MODEL_FOLDER.glob("*.gguf"))
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f} MB" for path in shipped) or "not converted yet"
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    command = f"python score.py --work WORK --hf emoji-hf --binary {Path(args.binary).name} --count {args.count} --draw {args.draw}"
    text = f"""# Scores of the embedded model

Written by `recipe/score.py` on {datetime.date.today()} from the pictures of `{version or args.binary}`: {args.count} prompts a row,
4 steps, draw {args.draw} of scenes, seeds from {first_seed(args.draw):,} up. Draw 0 chose between trained versions (recipe/README.md). Half of the scenes (concept x style x background colour) were kept out of training.
A picture counts as what its nearest neighbour among all {args.real_count:,} real pictures shows. AlignNet was trained on
English captions only. Weights: {sizes}.{teacher_note(args)}

{table(teacher_score, scores)}

![one row a language](scores.png)

Top row: the real pictures{"; second: the teacher's" if (args.hf / "teacher").exists() else ""}; then one row a language, answer path: {", ".join(data.LANGUAGES)}.
The same scenes and seeds in every row of ours.

Repeat: `{command}` in `recipe/`, after `run.sh` (which makes WORK and emoji-hf).
"""
    (MODEL_FOLDER / "SCORES.md").write_text(text)


def save_small_grid(rows: list[torch.Tensor], path: Path) -> None:
    data.save_grid(torch.cat([row[:: len(row) // GRID_COLUMNS][:GRID_COLUMNS] for row in rows]), GRID_COLUMNS, path)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with the data")
    parser.add_argument("--hf", type=Path, required=True, help="what export.py wrote; the teacher is read from it")
    parser.add_argument("--binary", required=True, help="the x2i binary")
    parser.add_argument("--options", default="", help="more options for `x2i generate`, such as '--model DIR'")
    parser.add_argument("--count", type=int, default=192, help="prompts a row")
    parser.add_argument("--draw", type=int, default=1, help="which scenes, phrasings and seeds; 0 chose the version")
    parser.add_argument("--reuse", action="store_true", help="score pictures of an earlier run")
    args = parser.parse_args()
    seed_everything(0)
    real = teacher.RealPictures(args.work)
    args.real_count = len(real.scenes)
    scenes = real.half_unseen(args.count, seed=23 + args.draw)
    rows = [real.of(scenes)]
    if (args.hf / "teacher").exists():
        rows.append(teacher_pictures(args.hf, real.concepts, scenes, first_seed(args.draw)))
        teacher_score = real.accuracy(rows[-1], scenes)
    else:
        teacher_score = TEACHER_WAS[args.draw, args.count]
    print("teacher", teacher_score, flush=True)

    folder = args.work / f"scored-{args.draw}"
    kinds = [(path, x) for path in PATHS for x in (data.LANGUAGES if path != "prompt" else ["en"])]
    lines = {(path, x): requests(real.concepts, scenes, x, path, args.draw) for path, x in kinds}
    if not args.reuse:
        everything = [line for group in lines.values() for line in group]
        run_binary(args.binary, shlex.split(args.options), everything, folder)
    scores = {}
    for (path, language), group in lines.items():
        made = read_pictures(folder, group)
        scores[path, language] = real.accuracy(made, scenes)
        print(path, language, scores[path, language], flush=True)
        if path == "answer":
            rows.append(made)
    save_small_grid(rows, MODEL_FOLDER / "scores.png")
    write_scores(args, teacher_score, scores)


if __name__ == "__main__":
    main()
