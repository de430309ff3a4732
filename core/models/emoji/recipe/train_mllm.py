"""Stage 3: the language model reads text: captions and conversations in eight languages, to the canonical English answer.

    python train_mllm.py --work WORK

reads WORK/{concepts,entries}.json and writes WORK/text.pt (the tensors `llm.*` of MiniCPM-o without that prefix) and
WORK/tokenizer. Needs no picture: it can run beside stage 1.

Two losses. Cross-entropy on the answer; and consistency: in every batch a thing is asked for in English and in three
other languages, and the hidden states of the answer's tokens under the other languages are pulled, layer by layer, to
those under English. Without it the states keep traces of the prompt's language, and an AlignNet that has only seen
English stumbles over them. Strange words (lessons.py) differ by language: there the answer's loss has to do. The second loss begins
when things are told: states that tell nothing are alike, and with it from the start the model read nothing in 400 steps.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import Qwen2Config, Qwen2ForCausalLM

import captions
import data
import senses
import vocabulary
from lessons import Lesson, Teacher, strangers_of
from minicpm_o import DECODER_KEYS
from muon import MuonAdamW, split_parameters
from training import (
    Checkpoint, MovingAverage, half_precision, parameter_count, seed_everything, stage_arguments, warm_up_then_decay,
)  # fmt: skip
from words import Strangers

CAPTIONS, CONVERSATIONS, PHRASINGS = 16, 5, 4  # a batch: lessons x (English + three other languages)
POOL = 12  # batches that are made at once, so that a batch has lessons of like length
CONSISTENCY = 0.5  # weight of the second loss at last
ALIKE_FROM, ALIKE_AT = 0.25, 0.45  # the parts of the training between which that weight rises
MUON_LR, ADAM_LR = 3e-3, 1e-3


def build(tokenizer) -> Qwen2ForCausalLM:
    config = senses.config(tokenizer)
    return Qwen2ForCausalLM(Qwen2Config(**{key: config[key] for key in DECODER_KEYS if key in config}))


@dataclass
class Batch:
    ids: torch.Tensor  # [sequences, tokens]: prompt, answer, <|im_end|>, right padding (never looked at: causal)
    starts: torch.Tensor  # [sequences]: index of the answer's first token
    lengths: torch.Tensor  # [sequences]: tokens of the answer, <|im_end|> included

    def answer_positions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(index, mask), both [sequences, longest answer]: where the answer's tokens are, <|im_end|> included."""
        offsets = torch.arange(int(self.lengths.max()))
        mask = offsets < self.lengths[:, None]
        return (self.starts[:, None] + offsets).clamp(max=self.ids.shape[1] - 1), mask


def make_batch(tokenizer, prompts: list[str], answers: list[str]) -> Batch:
    """Of prompts as the chat template makes them."""
    prompt_ids = tokenizer(prompts)["input_ids"]
    answer_ids = [ids + [tokenizer.eos_token_id] for ids in tokenizer(answers)["input_ids"]]
    rows = [torch.tensor(p + a) for p, a in zip(prompt_ids, answer_ids)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    return Batch(ids, torch.tensor([len(p) for p in prompt_ids]), torch.tensor([len(a) for a in answer_ids]))


def states_of(model, batch: Batch) -> torch.Tensor:
    """Hidden states [layers + 1, sequences, tokens, width], the last after the final norm (as transformers returns)."""
    output = model.model(input_ids=batch.ids, use_cache=False, output_hidden_states=True)
    return torch.stack([states.float() for states in output.hidden_states])


def answer_loss(model, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    index, mask = batch.answer_positions()
    rows = torch.arange(len(index))[:, None].expand_as(index)
    predicting = states[-1][rows, index - 1][mask]
    return F.cross_entropy(model.lm_head(predicting).float(), batch.ids[rows, index][mask])


def consistency_loss(states: torch.Tensor, batch: Batch, alike: torch.Tensor) -> torch.Tensor:
    """Mean over layers of the relative squared distance to the English states (no gradient into those).

    `alike` [lessons]: those with one answer.
    """
    index, mask = batch.answer_positions()
    mask = mask & (torch.arange(index.shape[1]) < batch.lengths[:, None] - 1)  # <|im_end|> is never fed
    rows = torch.arange(len(index))[:, None].expand_as(index)
    answers = states[1:, rows, index]  # [layers, sequences, answer, width]
    answers = answers.unflatten(1, (-1, PHRASINGS))
    english, others = answers[:, :, :1].detach(), answers[:, :, 1:]
    weight = mask.unflatten(0, (-1, PHRASINGS))[None, :, 1:, :, None].float() * alike[None, :, None, None, None]
    distance = ((others - english).square() * weight).mean((1, 2, 3, 4))
    return (distance / (english.square() * weight).mean((1, 2, 3, 4)).clamp(min=1e-9)).mean()


def losses(model, tokenizer, lessons: list[Lesson]) -> tuple[torch.Tensor, torch.Tensor]:
    batch = make_batch(tokenizer, [p for lesson in lessons for p in lesson.prompts], [a for lesson in lessons for a in lesson.answers])
    with half_precision():
        states = states_of(model, batch)
        answer = answer_loss(model, states, batch)
    return answer, consistency_loss(states, batch, torch.tensor([float(lesson.alike) for lesson in lessons]))


class Batches:
    """Lessons of like length by batches, in random order: half of what is computed would be padding."""

    def __init__(self, tokenizer, make, size: int):
        """`make()` gives a lesson."""
        self.tokenizer, self.make, self.size, self.ready = tokenizer, make, size, []

    def __next__(self) -> list[Lesson]:
        if not self.ready:
            lessons = sorted((self.make() for _ in range(POOL * self.size)), key=self._longest)
            self.ready = [lessons[i : i + self.size] for i in range(0, len(lessons), self.size)]
            random.shuffle(self.ready)
        return self.ready.pop()

    def _longest(self, lesson: Lesson) -> int:
        return max(len(ids) for ids in self.tokenizer([p + a for p, a in zip(lesson.prompts, lesson.answers)])["input_ids"])


def languages() -> list[str]:
    return ["en", *random.sample(data.LANGUAGES[1:], PHRASINGS - 1)]


# ---- measuring -----------------------------------------------------------------------------------


@torch.no_grad()
def right(model, tokenizer, prompts: list[str], answers: list[str], tokens: int | None = None) -> float:
    """Share of prompts whose whole answer, or whose first tokens, greedy decoding gets right."""
    batch = make_batch(tokenizer, prompts, answers)
    index, mask = batch.answer_positions()
    if tokens:
        mask = mask & (torch.arange(index.shape[1]) < tokens)
    rows = torch.arange(len(prompts))[:, None].expand_as(index)
    with half_precision():
        predicted = model.lm_head(states_of(model, batch)[-1][rows, index - 1]).argmax(-1)
    return ((predicted == batch.ids[rows, index]) | ~mask).all(1).float().mean().item()


def report(model, tokenizer, concepts, strangers: Strangers, count: int, seed: int = 5) -> str:
    """Whole answers to held-out scenes of one thing and of several; unknown words told (`i know no`); edits."""
    rng = random.Random(seed)
    one = rng.sample([scene for scene in data.all_scenes(len(concepts)) if scene.held_out], count)
    several = [data.random_several(len(concepts) - 1, rng, held_out=True) for _ in range(count)]
    told = len(tokenizer(captions.I_KNOW_NO.strip())["input_ids"])
    lines = []
    for language in data.LANGUAGES:
        shares = []
        for scenes in (one, several):
            asked = [vocabulary.turn(captions.scoring_caption(concepts, scene, language, rng)) for scene in scenes]
            shares.append(right(model, tokenizer, asked, [captions.canonical(concepts, scene) for scene in scenes]))
        words = rng.sample(strangers.held_out(language), count)
        asked = [vocabulary.turn(captions.training_caption(concepts, scene, language, rng, word)) for scene, word in zip(one, words)]
        answers = [captions.unknown_answer(word, scene) for scene, word in zip(one, words)]
        shares += [right(model, tokenizer, asked, answers, told), right(model, tokenizer, asked, answers)]
        teacher = Teacher(concepts, strangers, rng)
        talks = [lesson for lesson in (teacher.conversation([language]) for _ in range(2 * count)) if lesson.alike][:count]
        shares.append(right(model, tokenizer, [x.prompts[0] for x in talks], [x.answers[0] for x in talks]))
        lines.append(f"{language} " + "/".join(f"{share:.2f}" for share in shares))
    return "one/several/unknown told/and named/edits: " + ", ".join(lines)


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name


def main() -> None:
    args = stage_arguments(__doc__, steps=2600).parse_args()
    seed_everything(args.seed)
    _, _, concepts = data.load(args.work)
    tokenizer = vocabulary.language_model_tokenizer(args.work, concepts)
    strangers = strangers_of(args.work, concepts)
    teacher, model = Teacher(concepts, strangers), build(tokenizer)
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR)
    average = MovingAverage({"mllm": model}, decay=0.995)
    checkpoint = Checkpoint(args.work, "mllm", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"mllm {parameter_count(model)}, vocabulary {len(tokenizer)}", flush=True)
    said_batches = Batches(tokenizer, lambda: teacher.caption(languages()), CAPTIONS)
    talk_batches = Batches(tokenizer, lambda: teacher.conversation(languages()), CONVERSATIONS)
    for step in range(first, args.steps):
        talking = teacher.at(step / args.steps)
        said, said_alike = losses(model, tokenizer, next(said_batches))
        talk = talk_alike = torch.zeros(())
        if talking:
            talk, talk_alike = losses(model, tokenizer, next(talk_batches))
        optimizer.zero_grad()
        alike = CONSISTENCY * min(1.0, max(0.0, (step / args.steps - ALIKE_FROM) / (ALIKE_AT - ALIKE_FROM)))
        (said + talk / 2 + alike * (said_alike + talk_alike / 2)).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps, warm_up=100))
        average.update(step)
        if (step + 1) % 50 == 0:
            facts = f"{said.item():.3f} {said_alike.item():.3f}, talk {talk.item():.3f} {talk_alike.item():.3f}"
            print(f"step {step + 1} said {facts} cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            checkpoint.save(step + 1)
            torch.save(average["mllm"].state_dict(), args.work / "text.pt")
            print(report(average["mllm"], tokenizer, concepts, strangers, 96), flush=True)


if __name__ == "__main__":
    main()
