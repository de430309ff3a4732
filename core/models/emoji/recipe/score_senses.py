"""Scores what the x2i binary draws of pictures, clips and speech, and writes ../SCORES-senses.md and ../senses.png.

    python score_senses.py --work WORK --binary target/release/x2i [--options "--model DIR"] [--count 96] [--all]

Every row is `--count` scenes that training saw and as many held-out ones, shown, moving or spoken in files made here:
PNG of 64 and of 160 pixels, GIF of one frame a second, WAV by voices of espeak-ng's that training never heard, and, in one
row of all languages, by those it did. They go
through `x2i generate --batch` along the answer path; a picture counts as what its nearest neighbour among all real
pictures shows. `concept / text` is the share of what the same scenes reach when they are written in English. With `--all`,
a second table measures the senses alone on all held-out scenes and as many seen ones: a row of 320 has half the error of one
of 96. With `--hf`, the teacher stands beside them: what FLUX draws of the same scenes through T5 and CLIP, in Python.
"""

import argparse
import datetime
import random
import shlex
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import captions
import data
import readings
import speech
import teacher
from pictures import Gallery
from score import MODEL_FOLDER, read_pictures, run_binary, save_small_grid, teacher_pictures
from train_senses import other_look
from training import seed_everything

FIRST_SEED = 50_000_000
ALL_SEED = 60_000_000  # of the pictures of all held-out scenes
FRAMES = 4


@dataclass
class Row:
    name: str
    lines: list[dict]
    inputs: list[torch.Tensor]  # [3, 64, 64] in -1..1, for the grid


class Maker:
    """Files of scenes, and the lines that show them to the binary."""

    def __init__(self, folder: Path, gallery: Gallery, concepts: list[dict], scenes: list[data.Scene], first_seed: int):
        self.folder, self.gallery, self.concepts, self.scenes = folder, gallery, concepts, scenes
        self.first_seed, self.rng = first_seed, random.Random(23)
        folder.mkdir(parents=True, exist_ok=True)

    def row(self, name: str, make) -> Row:
        """`make(scene, path without suffix)` gives the keys of a line and a picture of the input, if there is one."""
        lines, inputs = [], []
        for number, scene in enumerate(self.scenes):
            stem = f"{name.replace(', ', '-').replace(' ', '-')}-{number:03}"
            keys, shown = make(scene, self.folder / f"in-{stem}")
            lines.append({"seed": self.first_seed + number, "answer": True, "out": f"{stem}.png", **keys})
            inputs.append(shown)
        return Row(name, lines, inputs)

    def text(self, scene, _path):
        return {"prompt": captions.scoring_caption(self.concepts, scene, "en", self.rng)}, None

    def picture(self, scene, path):
        shown = self.gallery.plain(scene)
        return {"parts": [{"image": save_png(shown, path)}]}, shown

    def large_picture(self, scene, path):
        self.gallery.large(scene, self.rng).save(path.with_suffix(".png"))
        return {"parts": [{"image": str(path.with_suffix(".png"))}]}, None

    def changed(self, language: str):
        def make(scene, path):
            source = other_look(scene, self.rng)
            shown = self.gallery.plain(source)
            words = captions.change(source, scene, language, self.rng)
            return {"parts": [{"image": save_png(shown, path)}, {"text": words}]}, shown

        return make

    def clip(self, scene, path):
        frames = self.gallery.clip(scene, FRAMES, self.rng)
        pictures = [as_image(frame) for frame in frames]
        pictures[0].save(path.with_suffix(".gif"), save_all=True, append_images=pictures[1:], duration=1000)
        return {"parts": [{"video": str(path.with_suffix(".gif"))}]}, frames[0]

    def spoken(self, language: str | None, variants: list[str], speaker: speech.Speaker):
        """In a language, or in any."""
        def make(scene, path):
            chosen, variant = language or self.rng.choice(list(speech.LANGUAGES)), self.rng.choice(variants)
            voice = self.rng.choice(speech.LANGUAGES[chosen]) + (f"+{variant}" if variant else "")
            speaker.set(voice, RATE_PARAMETER=175, PITCH=50, RANGE=50, WORD_GAP=0)
            samples = speaker.say(readings.spoken(captions.scoring_caption(self.concepts, scene, chosen, self.rng), chosen, [])[0])
            return {"parts": [{"audio": save_wav(samples, path)}]}, None

        return make


def as_image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray(picture.mul(127.5).add(127.5).round().byte().permute(1, 2, 0).numpy())


def save_png(picture: torch.Tensor, path: Path) -> str:
    as_image(picture).save(path.with_suffix(".png"))
    return str(path.with_suffix(".png"))


def save_wav(samples: np.ndarray, path: Path) -> str:
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setparams((1, 2, speech.RATE, 0, "NONE", ""))
        file.writeframes((samples.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return str(path.with_suffix(".wav"))


def rows_of(maker: Maker, speaker: speech.Speaker, asked: tuple[str, ...] = (), voices: tuple[str, ...] = ()) -> list[Row]:
    """Rows of every sense; with words beside pictures in the languages `asked`, and a row for each of `voices`."""
    return [
        maker.row("text", maker.text), maker.row("picture", maker.picture), maker.row("large picture", maker.large_picture),
        *(maker.row(f"picture and words, {x}", maker.changed(x)) for x in asked),
        maker.row("clip", maker.clip),
        *(maker.row(f"speech, {x}", maker.spoken(x, speech.HELD_OUT_VARIANTS, speaker)) for x in speech.LANGUAGES),
        *(maker.row(f"speech by {x}", maker.spoken(None, [x], speaker)) for x in voices),
        maker.row("speech, known voices", maker.spoken(None, speech.VARIANTS, speaker)),
    ]  # fmt: skip


def seen_and_held_out(real: teacher.RealPictures, count: int) -> list[data.Scene]:
    """`count` scenes that training saw, then as many that it did not."""
    mixed = real.half_unseen(2 * count, seed=31)
    return mixed[count:] + mixed[:count]


def scored(args, rows: list[Row], real: teacher.RealPictures, scenes: list[data.Scene], folder: Path) -> tuple[dict[str, torch.Tensor], str]:
    """(pictures of every row, table)"""
    if not args.reuse:
        run_binary(args.binary, shlex.split(args.options), [line for row in rows for line in row.lines], folder)
    made = {row.name: read_pictures(folder, row.lines) for row in rows}
    return made, table(made, real, scenes)


def table(made: dict[str, torch.Tensor], real: teacher.RealPictures, scenes: list[data.Scene]) -> str:
    lines, count = ["| input | scenes | concept | style | background | concept / text |", "|---|---|---|---|---|---|"], len(scenes) // 2
    for kind, part in (("seen", slice(0, count)), ("held out", slice(count, None))):
        base = real.accuracy(made["text"][part], scenes[part])
        for name, pictures in made.items():
            share = real.accuracy(pictures[part], scenes[part])
            numbers = " | ".join(f"{x:.3f}" for x in (share.concept, share.style, share.background, share.concept / max(base.concept, 1e-9)))
            lines.append(f"| {name} | {kind} | {numbers} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def teacher_lines(taught: torch.Tensor, real: teacher.RealPictures, scenes: list[data.Scene]) -> str:
    count = len(scenes) // 2
    seen, held_out = (real.accuracy(taught[part], scenes[part]) for part in (slice(0, count), slice(count, None)))
    return f"""
The teacher, which reads the English captions of the same scenes (concept/style/background, other noise): seen {seen},
held out {held_out}. Its text encoders were trained anew under the shipped transformer (`train_flux.py --keep-transformer --steps 800`).
"""


def all_held_out(args, gallery: Gallery, real: teacher.RealPictures, speaker: speech.Speaker) -> str:
    """The second part of the report."""
    count, folder = sum(scene.held_out for scene in real.scenes), args.work / "scored-senses-all"
    scenes = seen_and_held_out(real, count)
    maker = Maker(folder, gallery, real.concepts, scenes, ALL_SEED)
    rows = rows_of(maker, speaker, voices=tuple(speech.HELD_OUT_VARIANTS))
    return f"""
## All held-out scenes

The same of all {count} held-out scenes and as many seen ones, seeds from {ALL_SEED:,} up, without words beside pictures. Rows named
by a voice have all languages.

{scored(args, rows, real, scenes, folder)[1]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with the data")
    parser.add_argument("--binary", required=True, help="the x2i binary")
    parser.add_argument("--options", default="", help="more options for `x2i generate`, such as '--model DIR'")
    parser.add_argument("--count", type=int, default=96, help="scenes of a kind in a row")
    parser.add_argument("--hf", type=Path, help="what export.py wrote, with the teacher's encoders")
    parser.add_argument("--reuse", action="store_true", help="score pictures of an earlier run")
    parser.add_argument("--all", action="store_true", help="also measure all held-out scenes")
    parser.add_argument("--draft", action="store_true", help="print, but write nothing beside the model")
    args = parser.parse_args()
    seed_everything(0)
    gallery, real, speaker = Gallery(data.load(args.work)[0]), teacher.RealPictures(args.work), speech.Speaker()
    scenes, folder = seen_and_held_out(real, args.count), args.work / "scored-senses"
    rows = rows_of(Maker(folder, gallery, real.concepts, scenes, FIRST_SEED), speaker, asked=("en", "zh", "de", "ru"))
    made, scores = scored(args, rows, real, scenes, folder)
    taught = teacher_pictures(args.hf, real.concepts, scenes, FIRST_SEED) if args.hf else None
    second = all_held_out(args, gallery, real, speaker) if args.all else ""
    if args.draft:
        return
    inputs = {row.name: row.inputs for row in rows}
    shown = "picture and words, en"
    grid = [real.of(scenes), *([] if taught is None else [taught]), made["picture"], torch.stack(inputs[shown]), made[shown],
            torch.stack(inputs["clip"]), made["clip"], made["speech, en"]]  # fmt: skip
    save_small_grid(grid, MODEL_FOLDER / "senses.png")
    text = f"""# Scores of what the embedded model sees and hears

Written by `recipe/score_senses.py` on {datetime.date.today()}: {args.count} scenes a row, 4 steps, seeds from {FIRST_SEED:,} up.
Held-out scenes are combinations of concept, style and background that no stage was shown, told or asked for. Pictures are
of 64 pixels, large ones of 160 with the drawing anywhere; clips are GIFs of {FRAMES} frames. Speech is by voices of
espeak-ng that training never heard ({", ".join(speech.HELD_OUT_VARIANTS)}), but for the row of known voices, which has all languages.
`concept / text` is the share of what the same scenes reach when they are written in English.

{scores}
{"" if taught is None else teacher_lines(taught, real, scenes)}
![inputs and pictures](senses.png)

Rows: the picture shown,{"" if taught is None else " what the teacher draws of its caption,"} and what was drawn of it; a picture beside which something else was asked for, and what was
drawn; a clip's first frame, and what was drawn; what was drawn of the English words of the first row's scene, spoken.
{second}
Repeat: `python score_senses.py --work WORK --binary x2i --options "--model emoji"{" --all" if args.all else ""}{" --hf emoji-hf" if args.hf else ""}` in `recipe/`, after `run.sh`.
"""
    (MODEL_FOLDER / "SCORES-senses.md").write_text(text)


if __name__ == "__main__":
    main()
