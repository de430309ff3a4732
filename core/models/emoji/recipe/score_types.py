"""Scores the embedded model with its weights in other types, and writes ../SCORES-types.md.

    python score_types.py --work WORK --binary target/release/x2i [--count 96] [--draw 2] [--also DIR...]

The shipped model is converted with `x2i convert --quantize TYPE`; `--also` adds folders of types that x2i does not
write, as tests/reference/make_other_types.py makes them. Scenes, captions and the count of what a picture
shows are those of score.py, on the answer path. No teacher is needed: WORK holds what data.py wrote.
"""

import argparse
import datetime
import subprocess
import tempfile
from pathlib import Path

import data
import score
import teacher

TYPES = ("f32", "f16", "q8_0", "q4_k", "q4_0")


def megabytes(folder: Path) -> float:
    weights = [path for path in folder.iterdir() if path.suffix in (".gguf", ".safetensors")]
    return sum(path.stat().st_size for path in weights) / 1e6


def accuracy_of(binary: str, model: Path, real: teacher.RealPictures, scenes: list, draw: int) -> dict:
    lines = {x: score.requests(real.concepts, scenes, x, "answer", draw) for x in data.LANGUAGES}
    with tempfile.TemporaryDirectory() as folder:
        everything = [line for group in lines.values() for line in group]
        score.run_binary(binary, ["--model", str(model), "--device", "cpu", "--quiet"], everything, Path(folder))
        return {x: real.accuracy(score.read_pictures(Path(folder), group), scenes) for x, group in lines.items()}


def row(args, real: teacher.RealPictures, scenes: list, name: str, model: Path) -> str:
    scores = accuracy_of(args.binary, model, real, scenes, args.draw)
    concepts = [scores[x].concept for x in data.LANGUAGES]
    cells = " | ".join(f"{concept:.3f}" for concept in concepts)
    return f"| {name} | {megabytes(model):.1f} MB | {sum(concepts) / len(concepts):.3f} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with the data")
    parser.add_argument("--binary", required=True, help="the x2i binary")
    parser.add_argument("--count", type=int, default=96, help="prompts a language")
    parser.add_argument("--draw", type=int, default=2, help="which scenes, phrasings and seeds")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="folders of the model in other types")
    args = parser.parse_args()
    real = teacher.RealPictures(args.work)
    scenes = real.half_unseen(args.count, seed=23 + args.draw)
    rows = []
    for stored in TYPES:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / stored
            convert = [args.binary, "convert", str(score.MODEL_FOLDER), str(model), "--quantize", stored, "--quiet"]
            subprocess.run(convert, check=True)
            rows.append(row(args, real, scenes, stored, model))
            print(rows[-1], flush=True)
    for model in args.also:
        rows.append(row(args, real, scenes, model.name, model))
        print(rows[-1], flush=True)
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    head = "| weights | size | mean | " + " | ".join(data.LANGUAGES) + " |"
    (score.MODEL_FOLDER / "SCORES-types.md").write_text(f"""# Scores of the embedded model by type of weights

Written by `recipe/score_types.py` on {datetime.date.today()} from the pictures of `{version}`: the share of pictures that show
the concept asked for, {args.count} prompts a language, answer path, 4 steps, draw {args.draw} of scenes. All types are made from
the shipped weights, which are q8_0 and f16: f32 is their values. Rows of the transformer are
192 numbers long for the most part, which 256 does not divide: there q4_k is q8_0, and iq4_xs is iq4_nl.
Types below q4_0 are made by `tests/reference/make_other_types.py`.

{head}
|{"---|" * (3 + len(data.LANGUAGES))}
{chr(10).join(rows)}

Repeat: `python score_types.py --work WORK --binary x2i --count {args.count} --draw {args.draw} --also DIR...` in `recipe/`, after `data.py`.
""")


if __name__ == "__main__":
    main()
