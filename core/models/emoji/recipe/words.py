"""Words: the forms of a concept's name that captions need, other names of it, and words that are no concept's.

A name is a label of emojibase. German plurals are from `german-nouns`, English ones from `inflect`, Russian cases from
`pymorphy3`; French and Spanish ones are made by rule; Chinese, Japanese and Vietnamese have none. Other names are those
of aliases.txt, and emojibase's tags that are a part of the label ("apple" of "red apple") and of few other concepts.
Words that are no concept's come from `wordfreq` and from other emoji's labels, or are made up.
"""

import json
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

COMMON = 3  # a tag of more concepts names none
WORDS = 30_000  # a language, by frequency
HERE = Path(__file__).parent
CASED = ("en", "de", "fr", "es", "ru", "vi")


# ---- names of concepts ---------------------------------------------------------------------------


def add_forms(concepts: list[dict], entries: dict[str, dict], colours: set[str]) -> None:
    """Gives every concept `forms[language]`: {"plural": [..], "genitive", "instrumental", "aliases": [..], "tags"}.

    No concept is called by a colour alone.
    """
    written = aliases()
    for language, by_code in entries.items():
        tags = {c["hexcode"]: [tag.lower() for tag in by_code[c["hexcode"]].get("tags", [])] for c in concepts}
        uses = Counter(tag for own in tags.values() for tag in set(own))
        taken = {c["labels"][language].lower() for c in concepts} | {a.lower() for names in written.values() for a in names.get(language, [])} | colours
        for concept in concepts:
            label = concept["labels"][language]
            others = list(written.get(concept["labels"]["en"], {}).get(language, []))
            for tag in tags[concept["hexcode"]]:
                if part_of(tag, label.lower(), language) and uses[tag] <= COMMON and tag not in taken and not coloured(tag, colours):
                    others.append(tag)
                    taken.add(tag)
            concept.setdefault("forms", {})[language] = {
                "plural": [plural(name, language) for name in (label, *others)],
                "genitive": [declined(name, "gent") for name in (label, *others)] if language == "ru" else [],
                "instrumental": [declined(name, "ablt") for name in (label, *others)] if language == "ru" else [],
                "aliases": others, "tags": tags[concept["hexcode"]],
            }  # fmt: skip


def aliases() -> dict[str, dict[str, list[str]]]:
    """aliases.txt: other names by English label and language."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in (HERE / "aliases.txt").read_text().splitlines():
        label, language, names = line.split("\t")
        found.setdefault(label, {})[language] = names.split("|")
    return found


def coloured(tag: str, colours: set[str]) -> bool:
    """Whether it is a colour in some form: of one letter, or with a colour's first three."""
    return tag in colours or any(len(tag) < 3 and tag in colour or tag[:3] == colour[:3] for colour in colours)


def part_of(tag: str, label: str, language: str) -> bool:
    if language in ("zh", "ja"):
        return tag in label and tag != label
    return tag != label and re.search(rf"(?<!\w){re.escape(tag)}(?!\w)", label) is not None


def plural(name: str, language: str) -> str:
    makers = {"en": english_plural, "de": german_plural, "fr": french_plural, "es": spanish_plural, "ru": russian_few}
    return makers[language](name) if language in makers else name


def english_plural(name: str) -> str:
    head, of, rest = name.partition(" of ")
    return english().plural_noun(head) + of + rest if not head.endswith("s") else name


@cache
def english():
    import inflect

    return inflect.engine()


def german_plural(name: str) -> str:
    found = german()[name.split()[-1]] if " " not in name else []
    forms = [entry["flexion"].get("nominativ plural") for entry in found if "flexion" in entry]
    return next((form for form in forms if form), name)


@cache
def german():
    from german_nouns.lookup import Nouns

    return Nouns()


def french_plural(name: str) -> str:
    first, *rest = name.split(" ")
    if not first.endswith(("s", "x", "z")):
        first = first[:-2] + "aux" if first.endswith("al") else first + ("x" if first.endswith(("eau", "eu")) else "s")
    agree = rest and len(rest) == 1 and rest[0] not in ("de",) and not rest[0].endswith(("s", "x"))
    return " ".join([first, *(word + "s" if agree else word for word in rest)])


def spanish_plural(name: str) -> str:
    first, *rest = name.split(" ")
    many = lambda word: word if word.endswith("s") else word + ("s" if word[-1] in "aeiouáéó" else "es")  # noqa: E731
    return " ".join([many(first), *(many(word) if len(rest) == 1 else word for word in rest)])


@cache
def russian():
    import pymorphy3

    return pymorphy3.MorphAnalyzer()


def russian_words(name: str, change) -> str:
    """The words of a name up to its noun, changed; what stands behind a preposition or in another case stays."""
    words, done = name.split(" "), False
    for index, word in enumerate(words):
        best = russian().parse(word)[0]
        if done or best.tag.POS not in ("NOUN", "ADJF") or best.tag.case not in ("nomn", "accs", None):
            break
        changed = change(best)
        words[index] = changed.word if changed else word
        done = best.tag.POS == "NOUN"
    return " ".join(words)


def russian_few(name: str) -> str:
    """As behind two, three, four."""
    return russian_words(name, lambda word: word.make_agree_with_number(2))


def declined(name: str, case: str) -> str:
    return russian_words(name, lambda word: word.inflect({case}))


# ---- words that are no concept's -----------------------------------------------------------------


class Strangers:
    """Words and made-up words that name nothing the model draws."""

    def __init__(self, concepts: list[dict], entries: dict[str, dict[str, dict]], common: set[str]):
        """`entries`: emojibase's, by language and code; `common`: words that captions are made of."""
        self.known = known_words(concepts) | common
        spared = {line.partition("\t")[2].lower() for line in (HERE / "unknown.txt").read_text().splitlines()}
        codes = {concept["hexcode"] for concept in concepts}
        self.words, self.labels = {}, {}
        for language, by_code in entries.items():
            self.words[language] = [w for w in frequent(language) if self.strange(w) and not kept(w) and w not in spared]
            labels = [e["label"] for code, e in by_code.items() if code not in codes and e.get("group") not in (None, 2, 9)]
            self.labels[language] = [x for x in labels if self.strange(x) and not kept(x.lower())]

    def strange(self, words: str) -> bool:
        """Whether no word of it belongs to a concept."""
        return not any(word in self.known for word in (words.lower(), *re.findall(r"\w+", words.lower())))

    def random(self, language: str, rng=random) -> str:
        kind = rng.random()
        if kind < 0.25 and self.labels[language]:
            return rng.choice(self.labels[language])
        word = rng.choice(self.words[language]) if kind < 0.7 else made_up(self.words[language], language, rng)
        if rng.random() < 0.12 and language in CASED:
            word = f"{word} {rng.choice(self.words[language])}"
        return word.capitalize() if language == "de" and rng.random() < 0.7 else word

    def held_out(self, language: str) -> list[str]:
        """Words that training never has."""
        return [w for w in frequent(language) if self.strange(w) and kept(w)]


def known_words(concepts: list[dict]) -> set[str]:
    """Names, their forms and tags in every language, and the words they are made of."""
    names = set()
    for concept in concepts:
        for language, forms in concept["forms"].items():
            own = [concept["labels"][language], *forms["plural"], *forms["genitive"], *forms["instrumental"], *forms["aliases"], *forms["tags"]]
            names |= {name.lower() for name in own} | {word for name in own for word in re.findall(r"\w+", name.lower())}
    return names


@cache
def frequent(language: str) -> list[str]:
    import wordfreq

    words = [word for word in wordfreq.top_n_list(language, WORDS) if re.fullmatch(r"[^\W\d_]+", word)]
    shortest = 4 if language in CASED else 2
    return [word for word in words[300:] if len(word) >= shortest]  # the first ones mean nothing by themselves


def kept(word: str) -> bool:
    """One word in eight is kept to measure with."""
    return sum(map(ord, word)) % 8 == 0


def made_up(words: list[str], language: str, rng) -> str:
    """The beginning of one word and the end of another."""
    while True:
        first, second = rng.choice(words), rng.choice(words)
        word = first[: max(1, round(len(first) * 0.6))] + second[len(second) // 2 :]
        if len(word) > 1:
            return word


def emoji_entries(packages: Path, languages: list[str]) -> dict[str, dict[str, dict]]:
    """emojibase's entries by language and code."""
    return {x: {e["hexcode"]: e for e in json.loads((packages / "emojibase-data" / x / "data.json").read_text())} for x in languages}
