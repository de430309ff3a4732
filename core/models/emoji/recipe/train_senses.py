"""Stage 3c: the language model reads text, pictures, clips and speech, and answers with the canonical caption.

    python train_senses.py --work WORK            # beside stages 3a and 3b
    python train_senses.py --work WORK --towers   # after them
    python train_senses.py --work WORK --settle   # after that

Since towers tell what they see and hear in the text model's own words (slots.py), it learns to read them without towers:
placeholders hold the embeddings that a tower is taught, with errors like a tower's (imagined.py). This gives WORK/reader.pt.
With `--towers` it goes on for a little with what the towers of WORK/{vision,hearing}.pt really tell, and gives
WORK/senses.pt: the weights of MiniCPM-o's architecture under its own names. The towers' last layers (LAST) then learn, too,
to be read rightly; the others stay as they are. So few lessons in words as fit beside the senses' make it forget some of
its words: `--settle` begins with the mean of the text model and the one that reads (READS of it), which knows both, and goes on in
small steps with more words, and gives WORK/settled.pt.

A step has lessons in words, as in stage 3, so that they are not forgotten, and SCENES scenes that are shown, moving or
heard. Beside a picture may stand what to change, to add or to draw instead. The losses are stage 3's: cross-entropy of the
answer, and the distance of its tokens' hidden states from those under the English words, layer by layer, since AlignNet will
know English only. Held-out scenes are never shown, said or asked for.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import captions
import data
import pictures
import senses
import vocabulary
from imagined import Imagined
from lessons import Teacher, strangers_of
from minicpm_o import MiniCpmO
from muon import MuonAdamW, split_parameters
from speech import Utterances
from train_hearing import batches_of_like_length, disguise, mask_some
from train_mllm import Batch, languages, losses as text_losses, make_batch, report as text_report
from training import (
    Checkpoint, MovingAverage, half_precision, parameter_count, seed_everything, stage_arguments, warm_up_then_decay,
)  # fmt: skip

SCENES, CAPTIONS, CONVERSATIONS = 16, 8, 3  # of a batch
SETTLING_CAPTIONS, SETTLING_CONVERSATIONS, SETTLING = 20, 6, 0.2  # the same with `--settle`, and the share of the learning rates
READS = 0.7  # share of the model that reads towers in the mean that `--settle` begins with
KINDS = (("heard",), ("heard",), ("shown", "moving", "heard"))  # in turn; speech is the hardest to read
MUON_LR, ADAM_LR = 3e-3, 1e-3
CONSISTENCY = 0.5
LAST = ("resampler.", "audio_projection_layer.", "apm.layer_norm.", f"apm.layers.{senses.CONFIG['audio_config']['encoder_layers'] - 1}.")
FRAMES = (2, 3, 4)  # of a clip
EDITED = 0.6  # share of pictures beside which stands what to change; half of it for clips
ANY_COLOUR = 0.3  # share of those, asked for on another background, that have one without a name
TEXT_FIRST = 0.15  # share of those where it stands before the picture


@dataclass
class Prompts:
    """Prompts of one kind, their answers, and what the placeholders stand for: rows [placeholders, hidden] or None."""

    texts: list[str]
    wanted: list[data.Scene]
    shown: torch.Tensor | None = None


class Towers:
    """What the model's towers tell of pictures and speech, in units; `Imagined` tells the same without them."""

    def __init__(self, model: MiniCpmO, gallery: pictures.Gallery, unit: float):
        self.model, self.gallery, self.unit = model, gallery, unit

    def see(self, looks: list[data.Scene], unnamed: list[bool], rng) -> torch.Tensor:
        """[looks, SLOTS, hidden] of pictures, on a background of any colour where it is `unnamed`."""
        colours = [pictures.any_colour(look, rng) if free else None for look, free in zip(looks, unnamed)]
        shown = [self.gallery.random(look, rng, colour, pictures.USUAL_AT_LAST) for look, colour in zip(looks, colours)]
        return self._look(torch.stack(shown))

    def watch(self, looks: list[data.Scene], frames: int, rng) -> torch.Tensor:
        """[looks * frames, SLOTS, hidden] of clips."""
        return self._look(torch.cat([self.gallery.clip(look, frames, rng) for look in looks]))

    def hear(self, utterances: Utterances, indices: list[int], masked: bool, rng) -> torch.Tensor:
        """[clips, tokens of the longest, hidden]"""
        mel, frames = utterances.batch(indices)
        if masked:
            mel = disguise(mel, frames)
            mask_some(mel)
        return self.model.hear(mel, frames).float() * self.unit

    def _look(self, shown: torch.Tensor) -> torch.Tensor:
        return self.model.see(shown).float() * self.unit


class Senses:
    """The model with what it is taught by; `source` gives what placeholders hold."""

    def __init__(self, model: MiniCpmO, tokens, teacher: Teacher, source: Towers | Imagined):
        self.model, self.tokens, self.teacher, self.source = model, tokens, teacher, source
        self.concepts = teacher.concepts
        self.unknown = tokens.convert_tokens_to_ids("<unk>")

    def batch(self, prompts: Prompts) -> Batch:
        answers = [captions.canonical(self.concepts, scene) for scene in prompts.wanted]
        return make_batch(self.tokens, [vocabulary.turn(text) for text in prompts.texts], answers)

    def states(self, prompts: Prompts, batch: Batch) -> torch.Tensor:
        """[layers + 1, sequences, tokens, hidden]"""
        return self.model.read(self.model.embed(batch.ids, batch.ids == self.unknown, prompts.shown)).float()

    def losses(self, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """(cross-entropy of the answers, the distance of their states from those under English words)"""
        batch = self.batch(prompts)
        with half_precision():
            states = self.states(prompts, batch)
            answer = answer_loss(self.model, states, batch)
            with torch.no_grad():
                said = self.said(prompts.wanted, ["en"] * len(prompts.wanted))
                english_batch = self.batch(said)
                english = self.states(said, english_batch)
        told, mask = answer_states(states, batch)
        return answer, CONSISTENCY * consistency_loss(told, answer_states(english, english_batch)[0], mask)

    def said(self, scenes: list[data.Scene], languages: list[str], phrase=captions.training_caption, rng=random) -> Prompts:
        return Prompts([phrase(self.concepts, scene, x, rng) for scene, x in zip(scenes, languages)], scenes)

    def shown(self, scenes: list[data.Scene], edited: float = EDITED, language: str | None = None, rng=random) -> Prompts:
        texts, wanted = self.asked(scenes, edited, language, rng)
        unnamed = [scene.colour != other.colour and rng.random() < ANY_COLOUR for scene, other in zip(scenes, wanted)]
        tokens = self.source.see(scenes, unnamed, rng)
        return Prompts(beside(senses.picture(), texts, rng), wanted, tokens.flatten(0, 1))

    def moving(self, scenes: list[data.Scene], edited: float = EDITED / 2, language: str | None = None, rng=random) -> Prompts:
        texts, wanted = self.asked(scenes, edited, language, rng)
        frames = rng.choice(FRAMES)
        tokens = self.source.watch(scenes, frames, rng)
        return Prompts(beside(senses.picture(frames), texts, rng), wanted, tokens.flatten(0, 1))

    def asked(self, shown: list[data.Scene], edited: float, language: str | None, rng) -> tuple[list[str], list[data.Scene]]:
        """(what is said beside each picture, what is wanted)"""
        texts, wanted = [], []
        for scene in shown:
            if rng.random() >= edited:
                texts.append("")
                wanted.append(scene)
                continue
            other, (text,) = self.teacher.edit(scene, [language or rng.choice(data.LANGUAGES)])
            texts.append(text)
            wanted.append(other)
        return texts, wanted

    def heard(self, utterances: Utterances, indices: list[int], masked: bool, rng=random) -> Prompts:
        counts = [self.model.tokens_heard(utterances.frames[i]) for i in indices]
        tokens = self.source.hear(utterances, indices, masked, rng)
        inside = torch.arange(tokens.shape[1]) < torch.tensor(counts)[:, None]
        texts = [senses.sound(count) for count in counts]
        return Prompts(texts, [utterances.scenes[i] for i in indices], tokens[inside])


def beside(shown: str, texts: list[str], rng) -> list[str]:
    """What is shown stands before the words, now and then behind them."""
    first = [bool(text) and rng.random() < TEXT_FIRST for text in texts]
    return [f"{text}\n{shown}" if before else shown + text for text, before in zip(texts, first)]


def answer_loss(model: MiniCpmO, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    index, mask = batch.answer_positions()
    rows = torch.arange(len(index))[:, None].expand_as(index)
    logits = model.llm.lm_head(states[-1][rows, index - 1][mask])
    return F.cross_entropy(logits.float(), batch.ids[rows, index][mask])


def answer_states(states: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(states of the answer's tokens [layers, sequences, answer, hidden], which of them there are)

    Without the embeddings, which are the same, and without <|im_end|>, which is never fed.
    """
    index, mask = batch.answer_positions()
    mask = mask & (torch.arange(index.shape[1]) < batch.lengths[:, None] - 1)
    return states[1:, torch.arange(len(index))[:, None], index], mask


def consistency_loss(states: torch.Tensor, english: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over layers of the relative squared distance to the English states [layers, sequences, answer, hidden]."""
    weight = mask[None, :, :, None].float()
    distance = ((states - english).square() * weight).mean((1, 2, 3))
    return (distance / (english.square() * weight).mean((1, 2, 3))).mean()


def step_losses(
    senses_: Senses, utterances: Utterances, indices: list[int], kinds: tuple, words: tuple[int, int]
) -> dict[str, torch.Tensor]:
    """Losses by kind of prompt, about the scenes of these utterances and, in words, (captions, conversations) about others."""
    scenes, lessons = [utterances.scenes[i] for i in indices], senses_.teacher
    make = {
        "shown": lambda: senses_.shown(scenes), "moving": lambda: senses_.moving(scenes),
        "heard": lambda: senses_.heard(utterances, indices, masked=True),
    }  # fmt: skip
    found = {}
    said = [lessons.caption(languages()) for _ in range(words[0])]
    talks = [lessons.conversation(languages()) for _ in range(words[1])]
    for name, asked in (("said", said), ("talk", talks)):
        found[name], alike = text_losses(senses_.model.llm, senses_.tokens, asked)
        found[f"{name}, as English"] = CONSISTENCY * alike
    for kind in kinds:
        found[kind], found[f"{kind}, as English"] = senses_.losses(make[kind]())
    return found


# ---- measuring -----------------------------------------------------------------------------------


@torch.no_grad()
def right(senses_: Senses, prompts: Prompts) -> str:
    """Shares of prompts: every token of the answer right; every token before the background, which are the things.

    The answer's tokens are predicted behind the right ones, which is what greedy decoding gets right.
    """
    batch = senses_.batch(prompts)
    index, mask = batch.answer_positions()
    rows = torch.arange(len(index))[:, None].expand_as(index)
    with half_precision():
        predicted = senses_.model.llm.lm_head(senses_.states(prompts, batch)[-1][rows, index - 1]).argmax(-1)
    good = (predicted == batch.ids[rows, index]) | ~mask
    texts = [captions.canonical(senses_.concepts, scene) for scene in prompts.wanted]
    ends = [text.index(" on a ") for text in texts]
    offsets = senses_.tokens(texts, return_offsets_mapping=True)["offset_mapping"]
    things = [all(good[row, i] for i, (start, _) in enumerate(offsets[row]) if start < end) for row, end in enumerate(ends)]
    return f"{good.all(1).float().mean():.2f} ({sum(things) / len(things):.2f})"


def report(senses_: Senses, tests: dict[str, Utterances], count: int, seed: int = 7) -> str:
    """As `whole answer (things)`."""
    lines = []
    everything = data.all_scenes(len(senses_.concepts) - 1)
    for held_out in (False, True):
        rng = random.Random(seed)
        scenes = rng.sample([scene for scene in everything if scene.held_out == held_out], count)
        name = "held-out scenes" if held_out else "known scenes"
        asked = {x: right(senses_, senses_.shown(scenes, 1.0, x, rng)) for x in ("en", "zh", "de")}
        lines.append(f"  {name}, shown: {right(senses_, senses_.shown(scenes, 0.0, rng=rng))}, moving: {right(senses_, senses_.moving(scenes, 0.0, rng=rng))}, "
                     + "edited: " + ", ".join(f"{x} {share}" for x, share in asked.items()))  # fmt: skip
    for name, test in tests.items():
        by_language = {
            x: right(senses_, senses_.heard(test, [i for i in range(len(test)) if test.languages[i] == x][:count], False))
            for x in sorted(set(test.languages))
        }
        lines.append(f"  heard, unknown {name}: " + ", ".join(f"{x} {share}" for x, share in by_language.items()))
    return "\n".join(lines)


# ---- training ------------------------------------------------------------------------------------


def reader(work, tokens) -> MiniCpmO:
    """The text model with towers that know nothing. Its embedding is what towers are taught: it stays."""
    model = MiniCpmO(senses.config(tokens))
    model.llm.load_state_dict(torch.load(work / "text.pt", weights_only=True))
    return learning(model)


def with_towers(work, tokens, unit: float) -> MiniCpmO:
    """The model that reads towers, with the towers of stages 3a and 3b, whose last matrices are in units again."""
    model = MiniCpmO(senses.config(tokens))
    model.load_state_dict(torch.load(work / "reader.pt", weights_only=True))
    for part in ("vision", "hearing"):
        unknown = model.load_state_dict(torch.load(work / f"{part}.pt", weights_only=True), strict=False).unexpected_keys
        assert not unknown, unknown
    return with_last_layers(model, unit)


def settling(work, tokens, unit: float) -> MiniCpmO:
    """The mean of the model that reads towers and the text model, which share their beginning."""
    text, reads = (torch.load(work / f"{name}.pt", weights_only=True) for name in ("text", "senses"))
    model = MiniCpmO(senses.config(tokens))
    model.load_state_dict({
        name: torch.lerp(text[name.removeprefix("llm.")].float(), tensor.float(), READS) if name.startswith("llm.") else tensor
        for name, tensor in reads.items()
    })  # fmt: skip
    return with_last_layers(model, unit)


def with_last_layers(model: MiniCpmO, unit: float) -> MiniCpmO:
    """The language model's layers are to learn, and the towers' last, whose matrices are in units."""
    model.load_state_dict(scaled(model.state_dict(), 1 / unit))
    learning(model)
    for name, parameter in model.named_parameters():
        if name.startswith(LAST):
            parameter.requires_grad_(True)
    return model


def scaled(weights: dict[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """With towers that give tokens so many times as large."""
    last = ["resampler.proj", *(f"audio_projection_layer.linear2.{kind}" for kind in ("weight", "bias"))]
    return weights | {name: weights[name] * factor for name in last}


def learning(model: MiniCpmO) -> MiniCpmO:
    """Only the language model's layers are to learn."""
    model.requires_grad_(False)
    model.llm.model.layers.requires_grad_(True)
    model.llm.model.norm.requires_grad_(True)
    return model


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim == 2 and "query" not in name


def main() -> None:
    parser = stage_arguments(__doc__, steps=300)
    parser.add_argument("--towers", action="store_true", help="read what the towers tell, not what is imagined")
    parser.add_argument("--settle", action="store_true", help="begin with what the text model and the one that reads towers have in common")
    parser.add_argument("--test-count", type=int, default=48, help="prompts of a kind in a report")
    args = parser.parse_args()
    seed_everything(args.seed)
    art, _, concepts = data.load(args.work)
    tokens = vocabulary.language_model_tokenizer(args.work, concepts)
    strangers = strangers_of(args.work, concepts)
    imagined = Imagined(args.work, tokens, concepts)
    stage = "settled" if args.settle else "senses" if args.towers else "reader"
    unit = 1.0 if stage == "reader" else imagined.slots.unit
    model = {"reader": lambda: reader(args.work, tokens), "senses": lambda: with_towers(args.work, tokens, unit),
             "settled": lambda: settling(args.work, tokens, unit)}[stage]()  # fmt: skip
    source = imagined if stage == "reader" else Towers(model, pictures.Gallery(art), unit)
    words, share = ((SETTLING_CAPTIONS, SETTLING_CONVERSATIONS), SETTLING) if args.settle else ((CAPTIONS, CONVERSATIONS), 1.0)
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR * share, ADAM_LR * share, iterations=3)
    average = MovingAverage({stage: model}, decay=0.98)
    checkpoint = Checkpoint(args.work, stage, average, optimizer)
    first = checkpoint.load() if args.resume else 0
    taught, folder = Senses(model, tokens, Teacher(concepts, strangers), source), args.work / "speech"
    utterances = Utterances.load(sorted(folder.glob("train-*.npz")))
    tests = {name: Utterances.load([folder / f"{name}.npz"]) for name in ("voices", "scenes")}
    print(f"{stage} {parameter_count(model)}, {len(utterances)} utterances", flush=True)
    batches = batches_of_like_length(utterances, SCENES, pool=24)
    for step in range(first, args.steps):
        found = step_losses(taught, utterances, next(batches), KINDS[step % len(KINDS)], words)
        optimizer.zero_grad()
        sum(found.values()).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % (7 * len(KINDS)) == 0:
            facts = {kind: round(loss.item(), 3) for kind, loss in found.items()}
            print(step + 1, facts, f"cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            checkpoint.save(step + 1)
            torch.save(scaled(average[stage].state_dict(), unit), args.work / f"{stage}.pt")
            taught.model = taught.source.model = average[stage]
            print(f"step {step + 1}\n{report(taught, tests, args.test_count)}", flush=True)
            print(text_report(average[stage].llm, tokens, concepts, strangers, args.test_count), flush=True)
            taught.model = taught.source.model = model


if __name__ == "__main__":
    main()
