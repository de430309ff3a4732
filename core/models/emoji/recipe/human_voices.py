"""Words that people recorded, as a test of the audio tower: WORK/speech/human.npz, in English, German, French, Spanish, Russian.

    apt-get download tuxpaint-stamps-default ktuberling-data       # in an empty folder; Debian 12: 2022.06.04, 22.12.3
    for package in *.deb; do dpkg -x "$package" WORK/voices; done
    python human_voices.py --work WORK

Tux Paint (GPL-2, Bill Kendrick and those who recorded for it) says in French, Spanish, Russian, and rarely in English, what
a stamp shows, and has the words in a text beside it: "Une grenouille." KTuberling (GPL-2+, KDE) names things in English,
German, French and Russian, in files named after them. Kept are those that say a name of one concept and nothing else but an
article. Nothing of them is trained on, and nothing of them is in the model or in this repository. The scene of such a word
has the default style and colour. Reading the files needs `soundfile` (BSD).
"""

import argparse
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import captions
import data
import speech

ARTICLES = {
    "en": "an?|the|some|two|a pair of", "de": "eine?|der|die|das", "fr": "une?|des|les?|la|du|de la",
    "es": "una?|unos|unas|el|la|los|las", "ru": "",
}  # fmt: skip
# Names of KTuberling's files that are not the name of what they say. Its files are named in English, but for the French ones.
STEMS = {
    "palmtree": "palm tree", "broccolli": "broccoli", "brocolli": "broccoli", "fallingstar": "shooting star", "fireengine": "fire engine",
    "dowe": "dove", "spectacles": "glasses", "tie": "necktie", "present": "wrapped gift", "etoile filante": "étoile filante",
    "camion de pompier": "camion de pompiers", "paquet cadeau": "cadeau", "xmas tree": "christmas tree",
}  # fmt: skip
# What does not tell which of several things is meant, or means something else.
UNCLEAR = {
    "pepper", "arbre", "tree", "bow", "note", "notes", "letter", "lettre", "ball", "ballon", "boule", "ear", "cart", "planet", "planete",
    "flower", "fleur", "shoe", "shoes", "chaussure", "hat", "chapeau", "sunglasses", "lights", "moon", "lune", "angry", "train", "roue",
    "pompier", "quatre", "тарелки",
}  # fmt: skip
SHORTEST, LEAD = 1.0, 0.1  # seconds of a clip, and of silence before it


@dataclass
class Recording:
    path: Path
    concept: int
    language: str
    words: str


def plain(name: str) -> str:
    """In small letters, without accents, dots and hyphens."""
    letters = unicodedata.normalize("NFD", name.lower()).replace("\u0306", "\0")  # й is another letter than и
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter)).replace("\0", "\u0306")
    return re.sub(r"[\s\-]+", " ", kept.replace("’", "'")).strip(" .!")


def concepts_by_name(concepts: list[dict], language: str) -> dict[str, int]:
    """What every name means: labels before other names before plurals, and none that means several."""
    found: dict[str, int] = {}
    for kind in ("label", "aliases", "plural"):
        own: dict[str, set[int]] = {}
        for index, concept in enumerate(concepts[:-1]):
            forms = concept["forms"][language]
            for name in [concept["labels"][language]] if kind == "label" else forms[kind]:
                own.setdefault(plain(name), set()).add(index)
        found |= {name: indices.pop() for name, indices in own.items() if len(indices) == 1 and name not in found}
    return found


def tux_paint(folder: Path, concepts: list[dict]) -> list[Recording]:
    found = []
    for language, articles in ARTICLES.items():
        meaning = concepts_by_name(concepts, language)
        suffix = "_desc.ogg" if language == "en" else f"_desc_{language}.ogg"
        for path in sorted(folder.rglob(f"*{suffix}")):
            words = description(path.with_name(path.name.removesuffix(suffix) + ".txt"), language)
            name = re.sub(rf"^(?:{articles})\s+", "", plain(words)) if articles else plain(words)
            if name in meaning and name not in UNCLEAR:
                found.append(Recording(path, meaning[name], language, words))
    return found


def description(path: Path, language: str) -> str:
    """The English one stands in the first line."""
    lines = path.read_text().splitlines() if path.exists() else [""]
    return lines[0] if language == "en" else next((x.partition("=")[2] for x in lines if x.startswith(f"{language}.utf8=")), "")


def ktuberling(folder: Path, concepts: list[dict]) -> list[Recording]:
    found = []
    for language in ("en", "de", "fr", "ru"):
        meaning = concepts_by_name(concepts, "fr" if language == "fr" else "en")
        for path in sorted((folder / language).glob("*.*")):
            stem = re.sub(r"^(tux-|[a-z]+_)", "", path.stem).replace("-", " ").replace("_", " ")
            stem = "xmas tree" if path.stem == "xmas_tree" else stem
            name = plain(STEMS.get(stem, stem))
            if name in meaning and name not in UNCLEAR:
                found.append(Recording(path, meaning[name], language, stem))
    return found


def samples(path: Path) -> np.ndarray:
    """Mono at speech.RATE in -1..1, as loud as it was recorded, in silence where it is short."""
    import soundfile
    import soxr

    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    sound = soxr.resample(sound.mean(1), rate, speech.RATE, "HQ").clip(-1, 1)
    sound = np.concatenate([np.zeros(round(LEAD * speech.RATE), np.float32), sound])
    return np.pad(sound, (0, max(0, round(SHORTEST * speech.RATE) - len(sound))))


def heard(recordings: list[Recording]) -> speech.Utterances:
    made, filters = speech.Utterances(), speech.mel_filters()
    for one in recordings:
        scene = data.Scene((one.concept,), captions.DEFAULT_STYLE, captions.DEFAULT_COLOUR)
        nothing_told = [("", 0)], [(0, 0)] * 3  # phonemes, and where names sound
        made.add(speech.log_mel(samples(one.path), filters), scene, one.language, one.words, *nothing_told)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    concepts, share = data.load(args.work)[2], args.work / "voices" / "usr" / "share"
    recordings = tux_paint(share / "tuxpaint" / "stamps", concepts) + ktuberling(share / "ktuberling" / "sounds", concepts)
    assert recordings, f"no recordings in {share}: see the head of this file"
    heard(recordings).save(args.work / "speech" / "human.npz")
    for language in ARTICLES:
        own = [one for one in recordings if one.language == language]
        print(f"{language}: {len(own)} recordings of {len({one.concept for one in own})} concepts")


if __name__ == "__main__":
    main()
