"""Scores what the x2i binary draws of pictures, clips and speech, and writes ../SCORES-senses.md and ../senses.png.

    python score_senses.py --work WORK --hf emoji-hf --binary target/release/x2i [--options "--model DIR"] [--count 96]

Every row is `--count` scenes of one thing that training saw and as many held-out ones, shown, moving or spoken in files made
here: PNG of 128 and of 320 pixels, PNG beside words that say what to change, to add or to draw instead, GIF of one frame a second, WAV by
voices of espeak-ng's that training never heard, and, in one row of all languages, by those that it did. Where WORK/voices holds
what human_voices.py asks for, words that people recorded are a row a language. They go through `x2i generate --batch` along
the answer path; a picture counts as what reading.py reads in it. `concept / text` is the share of what the same scenes
reach when they are written in English.
"""

import argparse
import datetime
import random
import shlex
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import captions
import data
import human_voices
import readings
import speech
from data import Scene
from lessons import Teacher
from pictures import Gallery
from reading import Reader, one_thing
from score import MODEL_FOLDER, PythonTeacher, read_pictures, run_binary, save_small_grid
from training import seed_everything

FIRST_SEED = 50_000_000
FRAMES = 4
ASKED = ("en", "zh", "de", "ru")  # languages of words beside a picture


@dataclass
class Row:
    """Lines for the binary, what their pictures should show, and the pictures that were shown, for the sheet."""

    name: str
    wanted: list[Scene]
    lines: list[dict]
    inputs: list[Image.Image] = field(default_factory=list)


class Maker:
    """Files of scenes, and the lines that show them to the binary."""

    def __init__(self, folder: Path, gallery: Gallery, concepts: list[dict], scenes: list[Scene]):
        self.folder, self.gallery, self.concepts, self.scenes = folder, gallery, concepts, scenes
        self.rng = random.Random(23)
        self.teacher = Teacher(concepts, None, self.rng)
        folder.mkdir(parents=True, exist_ok=True)

    def row(self, name: str, make, scenes: list[Scene] | None = None) -> Row:
        """`make(scene, path without suffix)` gives the keys of a line, what is wanted, and the picture shown, if there is one."""
        row = Row(name, [], [])
        for number, scene in enumerate(scenes or self.scenes):
            stem = f"{name.replace(', ', '-').replace(' ', '-')}-{number:03}"
            keys, wanted, shown = make(scene, self.folder / f"in-{stem}")
            row.lines.append({"seed": FIRST_SEED + number, "answer": True, "out": f"{stem}.png", **keys})
            row.wanted.append(wanted)
            row.inputs += [shown] if shown else []
        return row

    def text(self, scene: Scene, _path: Path):
        return {"prompt": captions.scoring_caption(self.concepts, scene, "en", self.rng)}, scene, None

    def picture(self, scene: Scene, path: Path):
        shown = self.gallery.file(scene)
        return {"parts": [{"image": save_png(shown, path)}]}, scene, shown

    def large_picture(self, scene: Scene, path: Path):
        return {"parts": [{"image": save_png(self.gallery.large(scene, self.rng), path)}]}, scene, None

    def changed(self, language: str):
        def make(scene: Scene, path: Path):
            shown, (wanted, (words,)) = self.gallery.file(scene), self.teacher.edit(scene, [language])
            return {"parts": [{"image": save_png(shown, path)}, {"text": words}]}, wanted, shown

        return make

    def clip(self, scene: Scene, path: Path):
        frames = [as_image(frame) for frame in self.gallery.clip(scene, FRAMES, self.rng)]
        frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:], duration=1000)
        return {"parts": [{"video": str(path.with_suffix(".gif"))}]}, scene, frames[0]

    def spoken(self, language: str | None, variants: list[str], speaker: speech.Speaker):
        """In a language, or in any."""
        def make(scene: Scene, path: Path):
            chosen, variant = language or self.rng.choice(list(speech.LANGUAGES)), self.rng.choice(variants)
            voice = self.rng.choice(speech.LANGUAGES[chosen]) + (f"+{variant}" if variant else "")
            speaker.set(voice, RATE_PARAMETER=175, PITCH=50, RANGE=50, WORD_GAP=0)
            samples = speaker.say(readings.spoken(captions.scoring_caption(self.concepts, scene, chosen, self.rng), chosen, [])[0])
            return {"parts": [{"audio": save_wav(samples, path)}]}, scene, None

        return make


def as_image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray(picture.mul(127.5).add(127.5).round().byte().permute(1, 2, 0).numpy())


def save_png(picture: Image.Image, path: Path) -> str:
    picture.save(path.with_suffix(".png"))
    return str(path.with_suffix(".png"))


def save_wav(samples: np.ndarray, path: Path) -> str:
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setparams((1, 2, speech.RATE, 0, "NONE", ""))
        file.writeframes((samples.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return str(path.with_suffix(".wav"))


def rows_of(maker: Maker, speaker: speech.Speaker) -> list[Row]:
    """Rows of every sense."""
    return [
        maker.row("text", maker.text), maker.row("picture", maker.picture), maker.row("large picture", maker.large_picture),
        *(maker.row(f"picture and words, {x}", maker.changed(x)) for x in ASKED),
        maker.row("clip", maker.clip),
        *(maker.row(f"speech, {x}", maker.spoken(x, speech.HELD_OUT_VARIANTS, speaker)) for x in speech.LANGUAGES),
        maker.row("speech, known voices", maker.spoken(None, speech.VARIANTS, speaker)),
    ]  # fmt: skip


def recorded(maker: Maker, work: Path) -> list[Row]:
    """Words that people said, where they are: a row a language."""
    share = work / "voices" / "usr" / "share"
    if not share.exists():
        return []
    everything = human_voices.tux_paint(share / "tuxpaint" / "stamps", maker.concepts)
    everything += human_voices.ktuberling(share / "ktuberling" / "sounds", maker.concepts)
    rows = []
    for language in human_voices.ARTICLES:
        own = iter([one for one in everything if one.language == language])
        scenes = [Scene((one.concept,), captions.DEFAULT_STYLE, captions.DEFAULT_COLOUR) for one in everything if one.language == language]

        def make(scene: Scene, path: Path, own=own):
            return {"parts": [{"audio": save_wav(human_voices.samples(next(own).path), path)}]}, scene, None

        if scenes:
            rows.append(maker.row(f"recorded words, {language}", make, scenes))
    return rows


# ---- the report ----------------------------------------------------------------------------------


def table(rows: list[Row], made: dict[str, torch.Tensor], reader: Reader) -> str:
    lines, count = ["| input | scenes | concept | style | background | concept / text |", "|---|---|---|---|---|---|"], len(rows[0].lines) // 2
    for kind, part in (("seen", slice(0, count)), ("held out", slice(count, None))):
        base = reader.accuracy(made["text"][part], rows[0].wanted[part])
        for row in rows:
            share = reader.accuracy(made[row.name][part], row.wanted[part])
            numbers = " | ".join(f"{x:.3f}" for x in (share.concept, share.style, share.background, share.concept / max(base.concept, 1e-9)))
            lines.append(f"| {row.name} | {kind} | {numbers} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def people(rows: list[Row], made: dict[str, torch.Tensor], reader: Reader) -> str:
    if not rows:
        return ""
    lines = ["| language | recordings | concept |", "|---|---|---|"]
    for row in rows:
        share = reader.accuracy(made[row.name], row.wanted)
        lines.append(f"| {row.name.removeprefix('recorded words, ')} | {len(row.lines)} | {share.concept:.3f} |")
        print(lines[-1], flush=True)
    newline = "\n"
    return f"""
## Words that people recorded

Single words, without a background or a style, by people (Tux Paint and KTuberling, `recipe/human_voices.py`). The model was trained on
espeak-ng's voices alone.

{newline.join(lines)}
"""


def grid(rows: list[Row], made: dict[str, torch.Tensor], reader: Reader, drawn: torch.Tensor) -> list[torch.Tensor]:
    by_name = {row.name: row for row in rows}
    side = lambda picture: picture.resize((data.PICTURE, data.PICTURE), Image.NEAREST)  # noqa: E731
    shown = lambda name: torch.stack([  # noqa: E731
        torch.from_numpy(np.asarray(side(picture).convert("RGB")).copy()).permute(2, 0, 1).float() / 127.5 - 1
        for picture in by_name[name].inputs
    ])  # fmt: skip
    edited = "picture and words, en"
    return [reader.of(rows[0].wanted), drawn, made["picture"], shown(edited), made[edited], shown("clip"), made["clip"], made["speech, en"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with the data")
    parser.add_argument("--hf", type=Path, required=True, help="what export.py wrote, with the teacher's encoders")
    parser.add_argument("--binary", required=True, help="the x2i binary")
    parser.add_argument("--options", default="", help="more options for `x2i generate`, such as '--model DIR'")
    parser.add_argument("--count", type=int, default=96, help="scenes of a kind in a row")
    parser.add_argument("--reuse", action="store_true", help="score pictures of an earlier run")
    args = parser.parse_args()
    seed_everything(0)
    reader, folder = Reader(args.work), args.work / "scored-senses"
    known = len(reader.concepts) - 1
    scenes = one_thing(known, args.count, 31, held_out=False) + one_thing(known, args.count, 31)
    maker = Maker(folder, Gallery(data.load(args.work)[0]), reader.concepts, scenes)
    rows, voices = rows_of(maker, speech.Speaker()), recorded(maker, args.work)
    if not args.reuse:
        run_binary(args.binary, shlex.split(args.options), [line for row in rows + voices for line in row.lines], folder)
    made = {row.name: read_pictures(folder, row.lines) for row in rows + voices}
    drawn, count = PythonTeacher(args.hf).draw(reader.concepts, scenes, FIRST_SEED), args.count
    seen, held_out = reader.accuracy(drawn[:count], scenes[:count]), reader.accuracy(drawn[count:], scenes[count:])
    scores, by_people = table(rows, made, reader), people(voices, made, reader)
    save_small_grid(grid(rows, made, reader, drawn), MODEL_FOLDER / "senses.png")
    (MODEL_FOLDER / "SCORES-senses.md").write_text(f"""# Scores of what the embedded model sees and hears

Written by `recipe/score_senses.py` on {datetime.date.today()}: {count} scenes a row, 4 steps, seeds from {FIRST_SEED:,} up.
Held-out scenes are combinations of concept, style and background that no stage was shown, told or asked for. Pictures are
of 128 pixels, large ones of 320 with the drawing anywhere; clips are GIFs of {FRAMES} frames. Words beside a picture change how it looks, add a
thing or ask for another one. Speech is by voices of espeak-ng that training never heard ({", ".join(speech.HELD_OUT_VARIANTS)}), but
for the row of known voices, which has all languages. `concept / text` is the share of what the same scenes reach when they are written in English.

{scores}

The teacher, which reads the English captions of the same scenes (concept/style/background, other noise): seen {seen}, held out {held_out}.
{by_people}
![inputs and pictures](senses.png)

Rows: the picture shown, what the teacher draws of its caption, and what was drawn of it; a picture beside which something else was
asked for, and what was drawn; a clip's first frame, and what was drawn; what was drawn of the English words of the first row's
scene, spoken.

Repeat: `python score_senses.py --work WORK --hf emoji-hf --binary x2i --count {count}` in `recipe/`, after `run.sh`.
""")


if __name__ == "__main__":
    main()
