"""Towers that are not there: the words of a scene as a tower is taught to tell them (slots.py), with errors like its own.

Stands in the place of `train_senses.Towers` while the language model learns to read towers.
"""

import random

import torch

import data
import senses
from minicpm_o import half
from slots import Slots

NOISE = 0.6  # the largest deviation, in units of the embeddings
DOUBT = 0.35  # share of tellings that lean to another scene's words in some slots
LEAN = 0.45  # how far at most
WRONG_FRAME = 0.85  # the same, for one frame of a clip: the others have to outvote it


class Imagined:
    def __init__(self, work, tokens, concepts: list[dict]):
        self.slots, self.concepts = Slots(work, tokens, concepts), len(concepts) - 1  # without UNKNOWN

    def see(self, looks: list[data.Scene], unnamed: list[bool], rng=random) -> torch.Tensor:
        """[looks, SLOTS, hidden]"""
        words = self.slots.words(looks)
        words[torch.tensor(unnamed), senses.CONCEPT_SLOTS] = self.slots.filler
        return self._told(words, LEAN, rng)

    def watch(self, looks: list[data.Scene], frames: int, rng=random) -> torch.Tensor:
        """[looks * frames, SLOTS, hidden]"""
        words = self.slots.words(looks).repeat_interleave(frames, 0)
        return self._told(words, LEAN if frames == 2 else WRONG_FRAME, rng)

    def hear(self, utterances, indices: list[int], masked: bool, rng=random) -> torch.Tensor:
        """[clips, tokens of the longest, hidden]: behind the slots is nothing to tell"""
        longest = max(half(utterances.frames[i]) // senses.CONFIG["audio_pool_step"] for i in indices)
        told = self._told(self.slots.words([utterances.scenes[i] for i in indices]), LEAN, rng)
        rest = torch.full((len(indices), longest - senses.SLOTS), self.slots.filler)
        return torch.cat([told, self._noisy(self.slots.embedding[rest])], 1)

    def _told(self, words: torch.Tensor, lean: float, rng) -> torch.Tensor:
        other = self.slots.words([self._any_scene(rng) for _ in words])
        slots = self.slots
        chosen = torch.rand(len(words), 1) < DOUBT  # of a scene: the slots of its concept, its colour or its style
        part = torch.randint(0, 3, (len(words), 1))
        of_part = torch.tensor([0] * senses.CONCEPT_SLOTS + [1, 2]) == part
        share = (torch.rand(len(words), 1) * lean * chosen * of_part)[..., None]
        return self._noisy(torch.lerp(slots.embedding[words], slots.embedding[other], share))

    def _noisy(self, told: torch.Tensor) -> torch.Tensor:
        level = torch.rand(len(told), 1, 1) * NOISE
        return (told + level * torch.randn_like(told)) * self.slots.unit

    def _any_scene(self, rng) -> data.Scene:
        return data.Scene((rng.randrange(self.concepts),), rng.randrange(len(data.STYLES)), rng.randrange(len(data.COLOURS)))
