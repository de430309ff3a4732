"""Stage 4's data: English captions with their answers and pictures, as `x2i train align` reads them.

    python shards.py --work WORK

writes WORK/align/train.jsonl, WORK/align/held-out.jsonl (scenes that no stage is trained on) and WORK/align/pictures. A line
is {"caption", "answer", "painted", "picture"}: what a user says, what the language model answers, the caption of the picture,
which the teacher reads, and the picture as a PNG file. `answer` and `painted` differ where a word is strange: then a
question mark is painted.
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

from PIL import Image

import captions
import data
from lessons import strangers_of

ONE, SEVERAL, PHRASINGS = 4000, 4000, 4  # scenes of one thing, of several things; captions of each
HELD_OUT = 300  # scenes of each kind
STRANGE = 0.08  # share of captions with a strange word


class Writer:
    def __init__(self, work: Path):
        art, _, self.concepts = data.load(work)
        self.folder, self.rng = work / "align", random.Random(0)
        self.drawings = data.Drawings(art)
        self.strangers = strangers_of(work, self.concepts)
        (self.folder / "pictures").mkdir(parents=True, exist_ok=True)

    def write(self, file: str, scenes: list[data.Scene], phrasings: int) -> None:
        lines = [self.line(scene) for scene in scenes for _ in range(phrasings)]
        self.rng.shuffle(lines)
        (self.folder / file).write_text("\n".join(lines) + "\n")

    def line(self, scene: data.Scene) -> str:
        painted, answer, word = scene, captions.canonical(self.concepts, scene), None
        if self.rng.random() < STRANGE:
            word = self._strange()
            painted = replace(scene, concepts=(len(self.concepts) - 1,), layout=data.Layout.ONE)
            answer = captions.unknown_answer(word, scene)
        return json.dumps({
            "caption": captions.training_caption(self.concepts, scene, "en", self.rng, word), "answer": answer,
            "painted": captions.canonical(self.concepts, painted), "picture": f"pictures/{self.picture(painted)}",
        }, ensure_ascii=False)  # fmt: skip

    def _strange(self) -> str:
        """A word of any language: it stays in the answer as it was said."""
        language = self.rng.choice(data.LANGUAGES)
        return self.strangers.random(language, self.rng)

    def picture(self, scene: data.Scene) -> str:
        """The file's name; the file, if it is not there."""
        things = "-".join(f"{concept:03}" for concept in scene.concepts)
        name = f"{scene.layout.value}-{things}-{data.STYLES[scene.style]}-{data.COLOUR_NAMES[scene.colour]}.png"
        path = self.folder / "pictures" / name
        if not path.exists():
            pixels = data.compose(self.drawings, scene).mul(127.5).add(127.5).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(path)
        return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    writer = Writer(args.work)
    rng, concepts = writer.rng, len(writer.concepts)
    for held_out, file, counts, phrasings in ((False, "train.jsonl", (ONE, SEVERAL), PHRASINGS), (True, "held-out.jsonl", (HELD_OUT, HELD_OUT), 1)):
        one = rng.sample([scene for scene in data.all_scenes(concepts - 1) if scene.held_out == held_out], counts[0])
        several = [data.random_several(concepts - 1, rng, held_out) for _ in range(counts[1])]
        writer.write(file, one + several, phrasings)


if __name__ == "__main__":
    main()
