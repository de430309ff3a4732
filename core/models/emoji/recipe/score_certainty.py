"""Measures how well the model knows what it does not know, and writes ../SCORES-certainty.md.

    python score_certainty.py --work WORK --packages node_modules --binary target/release/x2i [--draw 1]

The binary paints prompts of four kinds and says of each answer how certain it is (`--json`):
    known      held-out scenes in eight languages: a phrasing of training's, one that no stage trained on, the bare name
    natural    a known concept among words that no caption has ("can you draw ... for me?")
    emoji      labels of emoji that are drawn and were not trained on, phrased as captions
    unknown    what people may ask for: unknown.txt
An answer is unsure whose certainty is below the model's (`certainty` in model.json). Draw 0 chose that number.
"""

import argparse
import datetime
import json
import random
import re
import subprocess
import tempfile
from pathlib import Path

import captions
import data

MODEL_FOLDER = Path(__file__).resolve().parent.parent
SCENES = 40  # of each language and phrasing
NATURAL = {
    "en": ["I would like a {o}", "can you draw {o} for me?", "my little {o}", "a beautiful {o}"],
    "zh": ["我想要{o}", "你能给我画{o}吗？", "可爱的{o}"],
    "de": ["ich hätte gern {o}", "kannst du mir {o} malen?", "schönes Foto: {o}"],
    "fr": ["je voudrais {o}", "peux-tu me dessiner {o} ?", "mon petit {o}"],
    "ja": ["{o}が欲しい", "{o}を描いてくれますか？", "かわいい{o}"],
    "es": ["quiero ver {o}", "¿puedes dibujarme {o}?", "mi pequeño {o}"],
    "ru": ["я хочу увидеть {o}", "можешь нарисовать мне {o}?", "мой маленький {o}"],
    "vi": ["tôi muốn {o}", "bạn có thể vẽ {o} không?", "{o} của tôi"],
}
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


def known(concepts: list[dict], rng: random.Random) -> list[dict]:
    scenes = [scene for scene in data.all_scenes(len(concepts)) if scene.held_out]
    lines = []
    for language in data.LANGUAGES:
        for scene in rng.sample(scenes, SCENES):
            bare = captions.fill(rng.choice(captions.BARE[language]), concepts, scene, language)
            phrasings = {
                "trained phrasing": captions.scoring_caption(concepts, scene, language, rng),
                "unseen phrasing": captions.held_out_caption(concepts, scene, language), "bare name": bare,
            }  # fmt: skip
            for kind, prompt in phrasings.items():
                lines.append({"kind": kind, "prompt": prompt, "concept": concepts[scene.concept]["labels"]["en"]})
    return lines


def natural(concepts: list[dict], rng: random.Random) -> list[dict]:
    return [
        {"kind": "natural", "prompt": words.format(o=concept["labels"][language]), "concept": concept["labels"]["en"]}
        for language, phrasings in NATURAL.items() for words in phrasings for concept in rng.sample(concepts, 12)
    ]  # fmt: skip


def says(text: str, name: str, language: str) -> bool:
    """Whether a name stands in a text, as words of its own where words have spaces between them."""
    if language in ("zh", "ja"):
        return name in text.lower()
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text.lower()) is not None


def unknown(packages: Path, concepts: list[dict], draw: int, rng: random.Random) -> list[dict]:
    entries = {x: json.loads((packages / "emojibase-data" / x / "data.json").read_text()) for x in data.LANGUAGES}
    labels = {x: {entry["hexcode"]: entry["label"] for entry in entries[x]} for x in data.LANGUAGES}
    names = {x: {concept["labels"][x].lower() for concept in concepts} for x in data.LANGUAGES}
    wanted = (Path(__file__).parent / "concepts.txt").read_text().splitlines()
    trained = {concept["hexcode"] for concept in concepts}
    drawn = [h for h, label in labels["en"].items() if label.lower() in wanted and h not in trained]
    fresh = lambda text, x: not any(says(text, n, x) or says(n, text.lower(), x) for n in names[x])  # noqa: E731
    lines = []
    for language in data.LANGUAGES:
        # A draw has every second one.
        for hexcode in sorted(drawn)[draw % 2 :: 2]:
            label = labels[language][hexcode]
            if fresh(label, language):
                scene = data.Scene(0, rng.randrange(len(data.STYLES)), rng.randrange(len(data.COLOURS)))
                phrasings = rng.choice((captions.BARE, captions.STYLED))[language]
                prompt = captions.fill(rng.choice(phrasings), [{"labels": {language: label}}], scene, language)
                lines.append({"kind": "emoji", "prompt": prompt})
    for line in (Path(__file__).parent / "unknown.txt").read_text().splitlines():
        language, _, prompt = line.partition("\t")
        if prompt and not any(says(prompt, name, language) for name in names[language]):
            lines.append({"kind": "unknown", "prompt": prompt})
    return lines


def ask(binary: str, lines: list[dict]) -> None:
    """Adds to each line what the binary answered and how certain it is."""
    with tempfile.TemporaryDirectory() as folder:
        batch = Path(folder) / "prompts.jsonl"
        batch.write_text("".join(json.dumps({"prompt": line["prompt"], "seed": n}) + "\n" for n, line in enumerate(lines)))
        command = [binary, "generate", "--batch", str(batch), "-o", folder, "--json", "--device", "cpu"]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for event in map(json.loads, run.stdout.splitlines()):
        if event["type"] == "image":
            line = lines[event["seed"]]
            line |= {"answer": event["answer"], "certainty": event["certainty"], "unsure": "alternatives" in event}
            line["right"] = event["answer"].lower().startswith(line.get("concept", "\0").lower() + " on ")


def groups(lines: list[dict]) -> dict[str, list[dict]]:
    kinds = ["trained phrasing", "unseen phrasing", "bare name"]
    of = lambda kinds, right: [line for line in lines if line["kind"] in kinds and line["right"] == right]  # noqa: E731
    return {
        **{f"known, {kind}, rightly answered": of([kind], True) for kind in kinds},
        "known, wrongly answered": of(kinds, False),
        "natural, rightly answered": of(["natural"], True), "natural, wrongly answered": of(["natural"], False),
        "emoji that were not trained on": of(["emoji"], False), "unknown": of(["unknown"], False),
    }  # fmt: skip


def table(found: dict[str, list[dict]], least: float) -> str:
    thresholds = sorted({*THRESHOLDS, least})
    head = " | ".join(f"**{t}**" if t == least else str(t) for t in thresholds)
    rows = [f"| prompts | number | {head} |", "|---|---|" + "---|" * len(thresholds)]
    for name, lines in found.items():
        share = [sum(line["certainty"] < t for line in lines) / len(lines) for t in thresholds]
        rows.append(f"| {name} | {len(lines)} | " + " | ".join(f"{x:.3f}" for x in share) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with concepts.json")
    parser.add_argument("--packages", type=Path, required=True, help="folder npm installed into")
    parser.add_argument("--binary", required=True, help="the x2i binary")
    parser.add_argument("--draw", type=int, default=1, help="which prompts; 0 chose the threshold")
    args = parser.parse_args()
    rng = random.Random(31 + args.draw)
    concepts = json.loads((args.work / "concepts.json").read_text())
    lines = known(concepts, rng) + natural(concepts, rng) + unknown(args.packages, concepts, args.draw, rng)
    ask(args.binary, lines)
    certainty = json.loads((MODEL_FOLDER / "model.json").read_text())["defaults"]["certainty"]
    found = groups(lines)
    wrong = [line for line in found["unknown"] + found["emoji that were not trained on"] if not line["unsure"]]
    worst = sorted(wrong, key=lambda line: -line["certainty"])[:8]
    examples = "\n".join(f"| {line['prompt']} | {line['answer']} | {line['certainty']:.3f} |" for line in worst)
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    text = f"""# How well the embedded model knows what it does not know

Written by `recipe/score_certainty.py` on {datetime.date.today()} from the answers of `{version}`, draw {args.draw} (draw 0 chose the
threshold). The certainty of an answer is the probability of the least certain of its first {certainty["tokens"]} tokens, which name the
concept; below {certainty["least"]} (`certainty` in model.json) the model counts as unsure. Each cell is the share of answers whose
certainty is below the number above it: recognised, where the model does not know; refused, where it does.
`unknown` is the same in all draws.

Other signals, tried once on prompts like draw 0's (the share recognised of 448 unknown prompts and of 140 wrong answers to natural ones,
and the share refused of 220 right answers to natural ones, where 2 % of the known ones are refused): the least certain of all
tokens .66, .79, .37; of the first two .69, .79, .21; of the first alone .67, .77, .20; the mean logarithm of all tokens .66, .79, .38; the
largest entropy of a token .70, .81, .41; the smallest margin to the next token .65, .78, .35; the first token's log-sum-exp .69, .83, .24. Words
that the tokenizer had to spell in short pieces, beside the certainty, recognise .84 of the unknown prompts, and refuse .75 of the
right answers to natural ones: they tell strange words, not strange concepts.

Alternatives cost 1.4 ms of a picture's 35 ms (4.1 %; 60 unknown prompts, the least of eight runs each, AVX2 CPU), for unsure answers alone.

{table(found, certainty["least"])}

The surest wrong answers of this draw, all of them told as sure:

| prompt | answer | certainty |
|---|---|---|
{examples}

Repeat: `python score_certainty.py --work WORK --packages node_modules --binary {Path(args.binary).name} --draw {args.draw}` in `recipe/`, after
`data.py`.
"""
    (MODEL_FOLDER / "SCORES-certainty.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
