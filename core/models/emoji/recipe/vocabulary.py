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

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
# Qwen2.5-VL's template without its default system message.
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or "
    "'image_url' in content %}{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture "
    "{{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' "
    "or 'video' in content %}{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video "
    "{{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}"
    "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% endif %}"
)
LANGUAGE_MODEL_VOCABULARY = 4096  # learned tokens; few enough that words split where languages differ
UNSPACED = ("zh", "ja")
TEACHER_VOCABULARY = 1024
T5_SPECIAL = ["<pad>", "</s>", "<unk>"]
CLIP_SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
CLIP_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
SPACE = "\u2581"  # T5's mark of a space
LETTER_SCORE = -20.0  # below every word's
TEACHER_FOLDERS = ("tokenizer_2", "tokenizer")  # T5's and CLIP's, as diffusers names them
TEACHER_LENGTH = 13  # tokens of a T5 input, </s> included


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
    """Captions, and the labels by themselves so that merges respect them.

    Chinese and Japanese write no spaces, so whole captions would merge across words: they come as pieces only.
    """
    rng = random.Random(0)
    texts = ["user\n", "assistant\n"] * 200
    for language in UNSPACED:
        templates = captions.STYLED[language] + captions.UNSTYLED[language]
        literals = [piece for template in templates for piece in re.split(r"\{\w\}", template)]
        texts += (literals + captions.WORDS[language]["c"].split() + data.STYLES) * 20
    for index, concept in enumerate(concepts):
        for language in data.LANGUAGES:
            label = concept["labels"][language]
            texts += [label, label.lower(), f" {label}", f" {label.lower()}"] * 3
            for _ in range(0 if language in UNSPACED else 6):
                scene = data.Scene(index, rng.randrange(len(data.STYLES)), rng.randrange(len(data.COLOURS)))
                texts.append(captions.training_caption(concepts, scene, language, rng))
                texts.append(captions.canonical(concepts, scene))
    return texts


def chat_prompt(caption: str) -> str:
    """What CHAT_TEMPLATE makes of one user message."""
    return f"<|im_start|>user\n{caption}<|im_end|>\n<|im_start|>assistant\n"


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
        texts = [captions.canonical(concepts, scene) for scene in data.all_scenes(len(concepts))]
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
