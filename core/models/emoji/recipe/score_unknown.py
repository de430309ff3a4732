"""Measures how well the model knows what it does not know, and writes ../SCORES-unknown.md.

    python score_unknown.py --work WORK --binary target/release/x2i [--options "--model DIR"] [--draw 1]

The binary paints prompts of these kinds, and says (`--json`) whether it knows what was asked for and how certain it is:
    known      held-out scenes in eight languages: a phrasing of training's, one that no stage trained on, the bare name,
               several things
    natural    a known concept among words that no caption has ("can you draw ... for me?")
    emoji      labels of other emoji, phrased as captions
    words      words that training never had, phrased as captions
    unknown    what people may ask for: unknown.txt
"""

import argparse
import datetime
import json
import random
import shlex
import subprocess
import tempfile
from pathlib import Path

import captions
import data
import words
from lessons import strangers_of
from words import Strangers

MODEL_FOLDER = Path(__file__).resolve().parent.parent
SCENES = 40  # of each language and phrasing
STRANGE = {"emoji": 12, "words": 15}  # of each language
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


def known(concepts: list[dict], rng: random.Random) -> list[dict]:
    scenes = [scene for scene in data.all_scenes(len(concepts) - 1) if scene.held_out]
    lines = []
    for language in data.LANGUAGES:
        for scene in rng.sample(scenes, SCENES):
            several = data.random_several(len(concepts) - 1, rng, held_out=True)
            label = captions.label(concepts, scene, language)
            phrasings = {
                "trained phrasing": (scene, captions.scoring_caption(concepts, scene, language, rng)),
                "unseen phrasing": (scene, captions.held_out_caption(concepts, scene, language)),
                "several things": (several, captions.scoring_caption(concepts, several, language, rng)),
            }  # fmt: skip
            lines += [{"kind": kind, "prompt": prompt, "wanted": things(concepts, meant)} for kind, (meant, prompt) in phrasings.items()]
            bare = captions.fill(rng.choice(captions.BARE[language]), label, scene, language)
            lines.append({"kind": "bare name", "prompt": bare, "wanted": things(concepts, scene)})
        for phrasing in NATURAL[language]:
            for scene in rng.sample(scenes, 12):
                prompt = phrasing.format(o=captions.label(concepts, scene, language))
                lines.append({"kind": "natural", "prompt": prompt, "wanted": things(concepts, scene)})
    return lines


def things(concepts: list[dict], scene: data.Scene) -> str:
    return captions.canonical(concepts, scene).partition(" on a ")[0]


def unknown(concepts: list[dict], strangers: Strangers, entries: dict, rng: random.Random) -> list[dict]:
    lines = []
    codes = {concept["hexcode"] for concept in concepts}
    for language in data.LANGUAGES:
        labels = [e["label"] for code, e in sorted(entries[language].items()) if code not in codes and e.get("group") not in (None, 2, 9)]
        pools = {
            "emoji": [label for label in labels if strangers.strange(label) and words.kept(label.lower())],
            "words": strangers.held_out(language),
        }
        for kind, pool in pools.items():
            for word in rng.sample(pool, min(STRANGE[kind], len(pool))):
                scene = data.Scene((0,), rng.randrange(len(data.STYLES)), rng.randrange(len(data.COLOURS)))
                phrasings = rng.choice((captions.BARE, captions.STYLED))[language]
                lines.append({"kind": kind, "prompt": captions.fill(rng.choice(phrasings), word, scene, language)})
    for line in (Path(__file__).parent / "unknown.txt").read_text().splitlines():
        prompt = line.partition("\t")[2]
        if prompt and strangers.strange(prompt):
            lines.append({"kind": "unknown", "prompt": prompt})
    return lines


def ask(binary: str, options: list[str], lines: list[dict]) -> None:
    """Adds to each line what the binary answered, whether it knows the thing, and how certain it is."""
    with tempfile.TemporaryDirectory() as folder:
        batch = Path(folder) / "prompts.jsonl"
        batch.write_text("".join(json.dumps({"prompt": line["prompt"], "seed": n, "steps": 1}) + "\n" for n, line in enumerate(lines)))
        command = [binary, "generate", "--batch", str(batch), "-o", folder, "--json", "--device", "cpu", *options]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for event in map(json.loads, run.stdout.splitlines()):
        if event["type"] == "image":
            line = lines[event["seed"]]
            line |= {"answer": event["answer"], "certainty": event["certainty"], "told": event.get("unknown") is not None}
            line["unsure"] = not line["told"] and "alternatives" in event
            line["right"] = event["answer"].partition(" on a ")[0] == line.get("wanted")


def table(lines: list[dict]) -> str:
    rows = ["| prompts | number | answered rightly | `i know no` | unsure | either |", "|---|---|---|---|---|---|"]
    kinds = list(dict.fromkeys(line["kind"] for line in lines))
    strange = [kind for kind in kinds if not any("wanted" in line for line in lines if line["kind"] == kind)]
    groups = {**{f"known, {kind}": [kind] for kind in kinds if kind not in strange}, **{f"not known, {kind}": [kind] for kind in strange}}
    groups["**not known, all**"] = strange
    groups["**known, all but natural**"] = [kind for kind in kinds if kind not in (*strange, "natural")]
    for name, own in groups.items():
        part = [line for line in lines if line["kind"] in own]
        share = lambda key: sum(bool(line[key]) for line in part) / len(part)  # noqa: E731
        rightly = f"{share('right'):.3f}" if any("wanted" in line for line in part) else ""
        rows.append(f"| {name} | {len(part)} | {rightly} | {share('told'):.3f} | {share('unsure'):.3f} | {share('told') + share('unsure'):.3f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with concepts.json and entries.json")
    parser.add_argument("--binary", required=True, help="the x2i binary")
    parser.add_argument("--options", default="", help="more options for `x2i generate`, such as '--model DIR'")
    parser.add_argument("--draw", type=int, default=1, help="which prompts; 0 chose the model's settings")
    args = parser.parse_args()
    rng = random.Random(31 + args.draw)
    concepts = json.loads((args.work / "concepts.json").read_text())
    entries = json.loads((args.work / "entries.json").read_text())
    strangers = strangers_of(args.work, concepts)
    lines = known(concepts, rng) + unknown(concepts, strangers, entries, rng)
    ask(args.binary, shlex.split(args.options), lines)
    missed = [line for line in lines if "wanted" not in line and not line["told"] and not line["unsure"]]
    examples = "\n".join(f"| {line['prompt']} | {line['answer']} | {line['certainty']:.3f} |" for line in sorted(missed, key=lambda x: -x["certainty"])[:8])
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True).stdout.strip()
    (MODEL_FOLDER / "SCORES-unknown.md").write_text(f"""# How well the embedded model knows what it does not know

Written by `recipe/score_unknown.py` on {datetime.date.today()} from the answers of `{version}`, draw {args.draw}. The language model answers
`i know no ...` to words that it has no concept for, and the picture is a question mark; an answer to anything else may be unsure
(`certainty` in model.json). Words of `not known` were kept from training.

{table(lines)}

The surest wrong answers, told as sure:

| prompt | answer | certainty |
|---|---|---|
{examples}

Repeat: `python score_unknown.py --work WORK --binary {Path(args.binary).name} --draw {args.draw}` in `recipe/`, after `data.py`.
""")
    print((MODEL_FOLDER / "SCORES-unknown.md").read_text())


if __name__ == "__main__":
    main()
