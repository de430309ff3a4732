"""What the language model is asked, and what it is to answer: captions, conversations, and words that it does not know.

A lesson is one thing to answer, asked for in several languages: the first is English. In a conversation the earlier turns
are in the same language. Where a strange word is asked for, every language has its own, and so has every answer.
"""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path

import captions
import data
import phrases
import vocabulary
from data import Layout, Scene
from words import Strangers

ONE_THING = (0.85, 0.4)  # share of the captions, at first and at last
STRANGE = (0.0, 0.3)  # share of the lessons in which a word is strange
ALONE = 0.1  # the part of the training in which nothing else is taught than captions as they are at first
RAMP = 0.1  # the part in which shares then rise to the last
SIDES = {"right": Layout.BESIDE, "left": Layout.BESIDE, "below": Layout.ABOVE, "above": Layout.ABOVE}


def strangers_of(work: Path, concepts: list[dict]) -> Strangers:
    """The words that name none of these concepts; `work` has entries.json (data.py)."""
    return Strangers(concepts, json.loads((work / "entries.json").read_text()), captions.colour_words() | set(data.STYLES))


@dataclass
class Lesson:
    """Prompts as the chat template makes them, and their answers; `alike`: one answer for all languages."""

    prompts: list[str]
    answers: list[str]
    alike: bool


class Teacher:
    """Makes lessons. `scenes` are those of one thing that may be asked for."""

    def __init__(self, concepts: list[dict], strangers: Strangers, rng=random):
        self.concepts, self.strangers, self.rng = concepts, strangers, rng
        self.scenes = [scene for scene in data.all_scenes(len(concepts)) if not scene.held_out]
        self.one_thing, self.strange = ONE_THING[1], STRANGE[1]

    def at(self, progress: float) -> bool:
        """Sets the shares for so much of the training done, 0 to 1; whether conversations have begun.

        Names come first: told of strange words from the start, of which every letter is news, the model learned to spell
        those and no concept in its first 400 steps.
        """
        risen = min(1.0, max(0.0, (progress - ALONE) / RAMP))
        self.one_thing = ONE_THING[0] + risen * (ONE_THING[1] - ONE_THING[0])
        self.strange = STRANGE[0] + risen * (STRANGE[1] - STRANGE[0])
        return risen > 0

    def scene(self) -> Scene:
        if self.rng.random() < self.one_thing:
            return self.rng.choice(self.scenes)
        return data.random_several(len(self.concepts) - 1, self.rng)

    def caption(self, languages: list[str], scene: Scene | None = None) -> Lesson:
        scene = scene or self.scene()
        strange = [self.strangers.random(x, self.rng) for x in languages] if self.rng.random() < self.strange else None
        words = strange or [None] * len(languages)
        asked = [captions.training_caption(self.concepts, scene, x, self.rng, word) for x, word in zip(languages, words)]
        return Lesson([vocabulary.turn(text) for text in asked], self.answers(scene, words), strange is None)

    def conversation(self, languages: list[str]) -> Lesson:
        """A scene, once in three times what became of it, and an edit."""
        shown = self.scene()
        prompts = [vocabulary.turn(captions.training_caption(self.concepts, shown, x, self.rng), self.answer(shown)) for x in languages]
        if self.rng.random() < 0.35:
            wanted, asked = self.edit(shown, languages)
            prompts = [so_far + vocabulary.turn(text, self.answer(wanted)) for so_far, text in zip(prompts, asked)]
            shown = wanted
        strange = [self.strangers.random(x, self.rng) for x in languages] if self.rng.random() < self.strange / 2 else None
        wanted, asked = self.edit(shown, languages, strange)
        prompts = [so_far + vocabulary.turn(text) for so_far, text in zip(prompts, asked)]
        return Lesson(prompts, self.answers(wanted, strange or [None] * len(languages)), strange is None)

    def edit(self, shown: Scene, languages: list[str], strange: list[str] | None = None) -> tuple[Scene, list[str]]:
        """(what is wanted, what is said in every language); a strange word is added or asked for instead."""
        while True:
            kind = self.rng.choice(("look", "look", "add", "add", "more", "instead"))
            if shown.layout != Layout.ONE and strange is None:
                kind = "look"
            if strange and kind in ("look", "more"):
                continue
            wanted, say = getattr(self, f"_{kind}")(shown)
            if not wanted.held_out:
                return wanted, [say(x, strange[i] if strange else None) for i, x in enumerate(languages)]

    def _look(self, shown: Scene):
        style = shown.style if self.rng.random() < 0.5 else self.rng.randrange(len(data.STYLES))
        colour = shown.colour if style != shown.style and self.rng.random() < 0.5 else self.rng.randrange(len(data.COLOURS))
        wanted = replace(shown, style=style, colour=colour)
        return wanted, lambda x, _: captions.change(shown, wanted, x, self.rng)

    def _add(self, shown: Scene):
        other, side = self.any_concept(shown), self.rng.choice(("right", "right", "right", "left", "below", "above"))
        pair = (other, shown.concept) if side in ("left", "above") else (shown.concept, other)
        return replace(shown, concepts=pair, layout=SIDES[side]), lambda x, word: phrases.addition(side, self.name(other, x, word), x, self.rng)

    def _more(self, shown: Scene):
        wanted = replace(shown, layout=self.rng.choice((Layout.TWO, Layout.THREE)))
        return wanted, lambda x, _: phrases.more(wanted.layout, x, self.rng)

    def _instead(self, shown: Scene):
        other = self.any_concept(shown)
        return replace(shown, concepts=(other,), layout=Layout.ONE), lambda x, word: phrases.instead(self.name(other, x, word), x, self.rng)

    def any_concept(self, shown: Scene) -> int:
        """Another one than those that are shown."""
        return self.rng.choice([i for i in range(len(self.concepts) - 1) if i not in shown.concepts])

    def name(self, concept: int, language: str, word: str | None) -> phrases.Name:
        return phrases.Name(word) if word else phrases.Name.random(self.concepts[concept], language, self.rng)

    def answer(self, scene: Scene) -> str:
        return captions.canonical(self.concepts, scene)

    def answers(self, scene: Scene, words: list[str | None]) -> list[str]:
        return [captions.unknown_answer(word, scene) if word else self.answer(scene) for word in words]
