"""The two vocabularies, both byte-level BPE: the language model's (eight languages) and the teacher's (English).

The language model's tokenizer.json has exactly Qwen2.5's structure: NFC, Qwen's splitting expression, ByteLevel without
a leading space, special tokens after the learned ones. Only the learned merges are ours.
"""

import random
import re
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
TEACHER_SPECIAL = ["<pad>", "</s>", "<|startoftext|>", "<|endoftext|>"]
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


def teacher_tokenizer(work: Path, concepts: list[dict]) -> Tokenizer:
    """The teacher's English vocabulary, WORK/teacher-tokenizer.json; lower case, shared by T5 and CLIP."""
    path = work / "teacher-tokenizer.json"
    if not path.exists():
        learned = Tokenizer(models.BPE())
        learned.normalizer = normalizers.Lowercase()
        learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        learned.decoder = decoders.ByteLevel()
        texts = [captions.canonical(concepts, scene) for scene in data.all_scenes(len(concepts))]
        learned.train_from_iterator(texts, bpe_trainer(TEACHER_VOCABULARY, TEACHER_SPECIAL))
        learned.save(str(path))
    return Tokenizer.from_file(str(path))


def teacher_inputs(tokenizer: Tokenizer, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """(T5 ids [n, TEACHER_LENGTH], CLIP ids [n, TEACHER_LENGTH + 1]), padded as their encoders expect."""
    pad, end, clip_start, clip_end = range(4)
    t5 = torch.full((len(texts), TEACHER_LENGTH), pad)
    clip = torch.full((len(texts), TEACHER_LENGTH + 1), clip_end)
    for row, text in enumerate(texts):
        ids = tokenizer.encode(text).ids
        assert len(ids) < TEACHER_LENGTH, f"caption too long for the teacher: {text}"
        t5[row, : len(ids) + 1] = torch.tensor(ids + [end])
        clip[row, : len(ids) + 1] = torch.tensor([clip_start] + ids)
    return t5, clip
