"""Scores the pictures the x2i binary makes, and writes ../SCORES.md and ../scores.png.

    python score.py --work WORK --hf emoji-hf --binary target/release/x2i [--count 192]

Scenes in eight languages go through `x2i generate --batch`. Of one thing, half of them held out, along three paths:
    answer           AlignNet sees the language model's answer (this model's default)
    prompt           AlignNet sees the prompt's own tokens (English only: it was not trained on them)
    unseen phrasing  the answer path, with a caption phrased as no training caption was
Of several things, all of them held out: a third are two or three of a thing, the others two things with a place. And edits:
a conversation whose last turn changes what was drawn. A picture counts as what reading.py reads in it. Beside them stands
the teacher (T5 and CLIP, in Python), which is drawn by `--hf`'s encoders. Nothing of ours is computed in Python but the
comparison.
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

import captions
import data
import teacher
from data import Layout, Scene
from lessons import Teacher
from reading import Accuracy, Reader, one_thing
from train_vae import psnr
from training import seed_everything

SEEDS_PER_DRAW = 1_000_000  # training draws no per-picture seeds; the reports of stages 2 and 4 use small ones
GRID_COLUMNS = 12
MODEL_FOLDER = Path(__file__).resolve().parent.parent


class Task:
    """Prompts for the binary and what their pictures should show."""

    def __init__(self, group: str, name: str, wanted: list[Scene], lines: list[dict], first_seed: int):
        self.group, self.name, self.wanted = group, name, wanted
        stem = f"{group}-{name}".replace(" ", "-").replace(",", "")
        self.lines = [
            {"seed": first_seed + number, "out": f"{stem}-{number:03}.png", "answer": True, **line} for number, line in enumerate(lines)
        ]


def first_seed(draw: int) -> int:
    return (draw + 1) * SEEDS_PER_DRAW


def one(concepts: int, count: int, draw: int) -> list[Scene]:
    return one_thing(concepts - 1, count // 2, 23 + draw) + one_thing(concepts - 1, count - count // 2, 23 + draw, held_out=False)


def several(concepts: int, count: int, draw: int) -> list[Scene]:
    rng, layouts = random.Random(29 + draw), (Layout.BESIDE, Layout.ABOVE, Layout.BESIDE, Layout.ABOVE, Layout.TWO, Layout.THREE)
    return [data.random_several(concepts - 1, rng, held_out=True, layout=layouts[i % len(layouts)]) for i in range(count)]


def tasks(concepts: list[dict], count: int, draw: int) -> list[Task]:
    seed = first_seed(draw)
    found = []
    for group, scenes in (("one thing", one(len(concepts), count, draw)), ("several things", several(len(concepts), count, draw))):
        for language in data.LANGUAGES:
            rng = random.Random(17 + draw)
            asked = [{"prompt": captions.scoring_caption(concepts, scene, language, rng)} for scene in scenes]
            found.append(Task(group, f"{language}, answer", scenes, asked, seed))
            if language == "en" and group == "one thing":
                found.append(Task(group, "en, prompt", scenes, [line | {"answer": False} for line in asked], seed))
            asked = [{"prompt": captions.held_out_caption(concepts, scene, language)} for scene in scenes]
            found.append(Task(group, f"{language}, unseen phrasing", scenes, asked, seed))
    for language in data.LANGUAGES:
        found.append(edits(concepts, language, count // 2, draw))
    return found


def edits(concepts: list[dict], language: str, count: int, draw: int) -> Task:
    """A caption, its answer, and an edit."""
    rng, wanted, lines = random.Random(31 + draw), [], []
    speaker = Teacher(concepts, None, rng)
    for _ in range(count):
        shown = rng.choice(speaker.scenes)
        scene, (text,) = speaker.edit(shown, [language])
        said = captions.scoring_caption(concepts, shown, language, rng)
        wanted.append(scene)
        lines.append({"earlier": [{"prompt": said, "answer": captions.canonical(concepts, shown)}], "prompt": text})
    return Task("edits", f"{language}, answer", wanted, lines, first_seed(draw))


# ---- pictures ------------------------------------------------------------------------------------


class PythonTeacher:
    """Draws by T5, CLIP, FLUX and the VAE of an exported folder."""

    def __init__(self, hf: Path):
        self.texts = teacher.Texts.load(hf / "teacher")
        self.transformer = FluxTransformer2DModel.from_pretrained(hf / "flux/transformer").eval()
        self.vae = AutoencoderKL.from_pretrained(hf / "flux/vae").eval()

    @torch.no_grad()
    def draw(self, concepts: list[dict], scenes: list[Scene], seed: int) -> torch.Tensor:
        embeds, pooled = self.texts.of([captions.canonical(concepts, scene) for scene in scenes])
        return teacher.decode(self.vae, teacher.sample(self.transformer, embeds, pooled, seed=seed))


def run_binary(binary: str, options: list[str], lines: list[dict], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    batch = folder / "prompts.jsonl"
    batch.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    subprocess.run([binary, "generate", "--batch", str(batch), "-o", str(folder), *options], check=True)


def read_pictures(folder: Path, lines: list[dict]) -> torch.Tensor:
    pictures = [np.asarray(Image.open(folder / line["out"]).convert("RGB")) for line in lines]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


# ---- the report ----------------------------------------------------------------------------------

HEADS = {
    "one thing": "| prompts | path | concept | style | background | concept / teacher |\n|---|---|---|---|---|---|",
    "several things": "| prompts | path | count | kind | place | style | background | place / teacher |\n|---|---|---|---|---|---|---|---|",
    "edits": "| prompts | path | count | kind | place | style | background |\n|---|---|---|---|---|---|---|",
}


def row(group: str, name: str, path: str, score: Accuracy, base: Accuracy | None) -> str:
    if group == "one thing":
        shares = [score.concept, score.style, score.background]
    else:
        shares = [score.count, score.kind, score.concept, score.style, score.background]
    if base is not None:
        shares.append(score.concept / base.concept)
    return f"| {name} | {path} | " + " | ".join(f"{share:.3f}" for share in shares) + " |"


def write_scores(args, teachers: dict[str, Accuracy], scores: list[tuple[Task, Accuracy]], sharpness: str) -> None:
    shipped = sorted(MODEL_FOLDER.glob("*.gguf"))
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f} MB" for path in shipped) or "not converted yet"
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    command = f"python score.py --work WORK --hf emoji-hf --binary {Path(args.binary).name} --count {args.count} --draw {args.draw}"
    tables = []
    for group, head in HEADS.items():
        base = teachers.get(group)
        lines = [head] + ([row(group, "en", "teacher (T5 and CLIP, in Python)", base, base)] if base else [])
        lines += [row(group, *task.name.split(", "), score, base) for task, score in scores if task.group == group]
        tables.append(f"## {group.capitalize()}\n\n" + "\n".join(lines))
    newline = "\n\n"
    text = f"""# Scores of the embedded model

Written by `recipe/score.py` on {datetime.date.today()} from the pictures of `{version or args.binary}`: {args.count} prompts a row
({args.count // 2} of edits), 4 steps, draw {args.draw} of scenes, seeds from {first_seed(args.draw):,} up. Of one thing, half of the scenes (concept x style x
background) were kept out of training; of several things, all of them: no stage saw those two things together, in any order, style or
place. A picture counts as what its nearest neighbours among all real pictures show, thing by thing (`recipe/reading.py`):
`count` as many things as there should be, `kind` the right ones, `place` the right ones where they should stand. AlignNet was trained on English
captions only. Weights: {sizes}. {sharpness}

{newline.join(tables)}

![one row a language](scores.png)

Top row: the real pictures; second: the teacher's; then one row a language, answer path: {", ".join(data.LANGUAGES)}. The same scenes and
seeds in every row of ours. Below, the same of scenes of several things.

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
    reader, drawer = Reader(args.work), PythonTeacher(args.hf)
    concepts, folder = reader.concepts, args.work / f"scored-{args.draw}"
    everything = tasks(concepts, args.count, args.draw)
    if not args.reuse:
        run_binary(args.binary, shlex.split(args.options), [line for task in everything for line in task.lines], folder)
    teachers, scores, rows, sharpness = {}, [], [], ""
    for group, scenes in (("one thing", one(len(concepts), args.count, args.draw)), ("several things", several(len(concepts), args.count, args.draw))):
        drawn, real = drawer.draw(concepts, scenes, first_seed(args.draw)), reader.of(scenes)
        teachers[group] = reader.accuracy(drawn, scenes)
        print("teacher", group, teachers[group], flush=True)
        rows += [real, drawn]
        for task in [task for task in everything if task.group == group]:
            made = read_pictures(folder, task.lines)
            scores.append((task, reader.accuracy(made, scenes)))
            print(group, task.name, scores[-1][1], flush=True)
            if task.name.endswith("answer"):
                rows.append(made)
            if task.name == "en, answer":
                seen = slice(len(scenes) // 2, None) if group == "one thing" else slice(None)
                sharpness += f"{group.capitalize()}, {'seen' if group == 'one thing' else 'held out'}: {psnr(made[seen], real[seen]):.1f} dB from the drawings. "
    for task in [task for task in everything if task.group == "edits"]:
        scores.append((task, reader.accuracy(read_pictures(folder, task.lines), task.wanted)))
        print("edits", task.name, scores[-1][1], flush=True)
    save_small_grid(rows, MODEL_FOLDER / "scores.png")
    write_scores(args, teachers, scores, sharpness.strip())


if __name__ == "__main__":
    main()
