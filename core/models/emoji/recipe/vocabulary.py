"""The vocabularies: the language model's (byte-level BPE, eight languages), and the teacher's two (English).

The language model's tokenizer.json has exactly Qwen2.5's structure: NFC, Qwen's splitting expression, ByteLevel without
a leading space, special tokens after the learned ones. Only the learned merges are ours.
"""

import math
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Qwen2TokenizerFast

import captions
import data
import phrases
import words

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>",
    "</image_id>", "<|audio_start|>", "<|audio|>", "<|audio_end|>",
]  # fmt: skip
# Qwen2.5's template, as MiniCPM-o's tokenizer has it, without the default system message.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LANGUAGE_MODEL_VOCABULARY = 6144  # learned tokens
STRANGERS = 3000  # a language, of words that are no concept's: they are spelled in longer pieces
UNSPACED = ("zh", "ja")
TEACHER_VOCABULARY = 1280
T5_SPECIAL = ["<pad>", "</s>", "<unk>"]
CLIP_SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
CLIP_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
SPACE = "\u2581"  # T5's mark of a space
LETTER_SCORE = -20.0  # below every word's
TEACHER_FOLDERS = ("tokenizer_2", "tokenizer")  # T5's and CLIP's, as diffusers names them
TEACHER_LENGTH = 21  # tokens of a T5 input, </s> included


def language_model_tokenizer(work: Path, concepts: list[dict]) -> Qwen2TokenizerFast:
    """Loads WORK/tokenizer, learning it first if it is not there."""
    folder = work / "tokenizer"
    if not folder.exists():
        learned = Tokenizer(models.BPE())
        learned.normalizer = normalizers.NFC()
        learned.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
        learned.post_processor = processors.ByteLevel(trim_offsets=False)
        learned.decoder = decoders.ByteLevel()
        learned.train_from_iterator(corpus(concepts), bpe_trainer(LANGUAGE_MODEL_VOCABULARY, []))
        tokenizer = Qwen2TokenizerFast(
            tokenizer_object=learned, unk_token=None, bos_token=None, eos_token="<|im_end|>",
            pad_token="<|endoftext|>", additional_special_tokens=SPECIAL_TOKENS, chat_template=CHAT_TEMPLATE,
            model_max_length=4096,
        )
        tokenizer.save_pretrained(folder)
    return Qwen2TokenizerFast.from_pretrained(folder)


def bpe_trainer(size: int, special: list[str]) -> trainers.BpeTrainer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )


def corpus(concepts: list[dict]) -> list[str]:
    """Captions, and the names by themselves so that merges respect them; and some words that are no concept's.

    Chinese and Japanese write no spaces, so whole captions would merge across words: they come as pieces only.
    """
    rng = random.Random(0)
    texts = ["user\n", "assistant\n"] * 200
    for language in UNSPACED:
        by_layout = (phrases.COUNTS[language], phrases.PAIRS[language])
        templates = captions.STYLED[language] + captions.UNSTYLED[language] + captions.REQUESTS[language]
        templates += [template for kind in by_layout for own in kind.values() for template in own]
        templates += [template for own in phrases.ADDITIONS[language].values() for template in own]
        templates += captions.RECOLOURS[language] + [template for kind in captions.CHANGES[language] for template in kind]
        literals = [piece for template in templates for piece in re.split(r"\{\w*\}", template)]
        texts += (literals + captions.WORDS[language]["c"].split() + data.STYLES) * 20
    for index, concept in enumerate(concepts):
        for language in data.LANGUAGES:
            forms = concept["forms"][language]
            for name in (concept["labels"][language], *forms["aliases"]):
                texts += [name, name.lower(), f" {name}", f" {name.lower()}"] * 3
            texts += [f" {name}" for key in ("plural", "genitive", "instrumental") for name in forms[key]]
            for _ in range(0 if language in UNSPACED else 4):
                style, colour = rng.randrange(len(data.STYLES)), rng.randrange(len(data.COLOURS))
                for scene in (data.Scene((index,), style, colour), data.random_several(len(concepts) - 1, rng)):
                    texts.append(captions.training_caption(concepts, scene, language, rng))
                    texts.append(captions.canonical(concepts, scene))
    for language in data.LANGUAGES:
        frequent = words.frequent(language)
        texts += [("" if language in UNSPACED else " ") + word for word in frequent[:STRANGERS]]
    return texts


def turn(caption: str, answer: str | None = None) -> str:
    """What CHAT_TEMPLATE makes of a user's message and of its answer, or of the place for one."""
    asked = f"<|im_start|>user\n{caption}<|im_end|>\n<|im_start|>assistant\n"
    return asked if answer is None else f"{asked}{answer}<|im_end|>\n"


@dataclass
class TeacherTokenizers:
    """The teacher's English vocabularies, of the kinds that T5 and CLIP have, so that other programs read them."""

    t5: Tokenizer
    clip: Tokenizer

    @classmethod
    def load(cls, folder: Path) -> "TeacherTokenizers":
        """Of a folder as diffusers lays it out."""
        return cls(*(Tokenizer.from_file(str(folder / part / "tokenizer.json")) for part in TEACHER_FOLDERS))

    def save(self, folder: Path) -> None:
        for part, tokenizer in zip(TEACHER_FOLDERS, (self.t5, self.clip)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            tokenizer.save(str(folder / part / "tokenizer.json"))

    def inputs(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(T5 ids [n, TEACHER_LENGTH], CLIP ids [n, TEACHER_LENGTH + 1]), padded as their encoders expect."""
        pad, end, _ = range(len(T5_SPECIAL))
        clip_start, clip_end = range(len(CLIP_SPECIAL))
        t5 = torch.full((len(texts), TEACHER_LENGTH), pad)
        clip = torch.full((len(texts), TEACHER_LENGTH + 1), clip_end)
        for row, text in enumerate(texts):
            ids, clip_ids = self.t5.encode(text).ids, self.clip.encode(text).ids
            assert max(len(ids), len(clip_ids)) < TEACHER_LENGTH, f"caption too long for the teacher: {text}"
            t5[row, : len(ids) + 1] = torch.tensor(ids + [end])
            clip[row, : len(clip_ids) + 1] = torch.tensor([clip_start] + clip_ids)
        return t5, clip


def teacher_tokenizers(work: Path, concepts: list[dict]) -> TeacherTokenizers:
    """Loads WORK/flux/{tokenizer_2,tokenizer}, learning them first if they are not there."""
    folder = work / "flux"
    if not (folder / TEACHER_FOLDERS[0]).exists():
        rng = random.Random(0)
        scenes = data.all_scenes(len(concepts)) + [data.random_several(len(concepts) - 1, rng) for _ in range(20_000)]
        texts = [captions.canonical(concepts, scene) for scene in scenes]
        TeacherTokenizers(unigram(texts), learned_clip(texts)).save(folder)
    return TeacherTokenizers.load(folder)


def unigram(texts: list[str]) -> Tokenizer:
    """Whole words by their frequency, and letters for any other. UnigramTrainer breaks the words of so few templates."""
    counts = Counter(piece for text in texts for piece in re.findall(r" ?\w+|[^\w\s]", f" {text}"))
    total = counts.total()
    pieces = {piece.replace(" ", SPACE): math.log(count / total) for piece, count in sorted(counts.items())}
    letters = {letter: LETTER_SCORE for letter in sorted({SPACE, *"".join(texts)} - {" "})}
    vocabulary = [(piece, 0.0) for piece in T5_SPECIAL] + list((letters | pieces).items())
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=T5_SPECIAL.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(T5_SPECIAL)
    return tokenizer


def learned_clip(texts: list[str]) -> Tokenizer:
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=CLIP_SPECIAL[-1]))
    learned.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learned.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP_SPLIT), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    trainer = trainers.BpeTrainer(
        vocab_size=TEACHER_VOCABULARY, special_tokens=CLIP_SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>", min_frequency=2, show_progress=False,
    )  # fmt: skip
    learned.train_from_iterator(texts, trainer)
    return learned
