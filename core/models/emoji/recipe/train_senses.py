"""Stage 3c: the language model reads text, pictures, clips and speech, and answers with the canonical caption.

    python train_senses.py --work WORK            # beside stages 3a and 3b
    python train_senses.py --work WORK --towers   # after them

The text model is widened (senses.py). Since towers tell what they see and hear in its own words (slots.py), it learns to
read them without towers: placeholders hold the embeddings that a tower is taught, with errors like a tower's (imagined.py).
This gives WORK/reader.pt. With `--towers` it goes on for a little with what the towers of WORK/{vision,hearing}.pt really
tell, and gives WORK/senses.pt: the weights of MiniCPM-o's architecture under its own names. The towers' last layers (LAST)
then learn, too, to be read rightly; the others stay as they are.

A batch is SCENES scenes, each in several ways: said in English, said in another language, shown, moving, heard; and some
that are only said, since words cost the least and must not be forgotten: those whose names went wrong before (Practice),
as `hot dog` did, which it took for a hot beverage in every phrasing. Beside a
picture may stand what to change: then the picture shows another style or background, and the answer is what is asked for.
The losses are stage 3's: cross-entropy of the answer, and the distance of its tokens' hidden states from those under the
English words, layer by layer, since AlignNet will know English only. Held-out scenes are never shown, said or asked for.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import captions
import data
import pictures
import senses
from imagined import Imagined
from minicpm_o import MiniCpmO
from muon import MuonAdamW, split_parameters
from speech import Utterances
from train_hearing import batches_of_like_length, disguise, mask_some
from train_mllm import Batch, make_batch
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

SCENES, SAID = 16, 24  # of a batch in every way, and in words
# In turn, beside "english"; speech is the hardest to read.
KINDS = (("other", "heard"), ("other", "heard"), ("other", "shown", "moving", "heard"))
MUON_LR, ADAM_LR = 3e-3, 1e-3
CONSISTENCY = 0.5
LAST = ("resampler.", "audio_projection_layer.", "apm.layer_norm.", f"apm.layers.{senses.CONFIG['audio_config']['encoder_layers'] - 1}.")
FRAMES = (2, 3, 4)  # of a clip
CHANGED = 0.6  # share of pictures beside which stands what to change
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
        return self.model.hear(mel, frames) * self.unit

    def _look(self, shown: torch.Tensor) -> torch.Tensor:
        return self.model.see(shown) * self.unit


class Senses:
    """The model with what it is taught by; `source` gives what placeholders hold."""

    def __init__(self, model: MiniCpmO, tokens, concepts: list[dict], source: Towers | Imagined):
        self.model, self.tokens, self.concepts, self.source = model, tokens, concepts, source
        self.unknown = tokens.convert_tokens_to_ids("<unk>")

    def batch(self, prompts: Prompts) -> Batch:
        answers = [captions.canonical(self.concepts, scene) for scene in prompts.wanted]
        return make_batch(self.tokens, prompts.texts, answers)

    def states(self, prompts: Prompts, batch: Batch) -> torch.Tensor:
        """[layers + 1, sequences, tokens, hidden]"""
        return self.model.read(self.model.embed(batch.ids, batch.ids == self.unknown, prompts.shown))

    def losses(self, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(cross-entropy of every answer, the states of their tokens, which of those there are)"""
        batch = self.batch(prompts)
        states = self.states(prompts, batch)
        return answer_loss(self.model, states, batch), *answer_states(states, batch)

    def said(self, scenes: list[data.Scene], languages: list[str], phrase=captions.training_caption, rng=random) -> Prompts:
        return Prompts([phrase(self.concepts, scene, x, rng) for scene, x in zip(scenes, languages)], scenes)

    def shown(self, scenes: list[data.Scene], changed: float = CHANGED, language: str | None = None, rng=random) -> Prompts:
        texts, seen = self.asked(scenes, changed, language, rng)
        unnamed = [look.colour != scene.colour and rng.random() < ANY_COLOUR for look, scene in zip(seen, scenes)]
        tokens = self.source.see(seen, unnamed, rng)
        return Prompts(beside(senses.picture(), texts, rng), scenes, tokens.flatten(0, 1))

    def moving(self, scenes: list[data.Scene], changed: float = CHANGED / 2, language: str | None = None, rng=random) -> Prompts:
        texts, seen = self.asked(scenes, changed, language, rng)
        frames = rng.choice(FRAMES)
        tokens = self.source.watch(seen, frames, rng)
        return Prompts(beside(senses.picture(frames), texts, rng), scenes, tokens.flatten(0, 1))

    def asked(self, scenes, changed: float, language: str | None, rng) -> tuple[list[str], list[data.Scene]]:
        """(what is said beside each picture, what the picture shows)"""
        texts, seen = [], []
        for scene in scenes:
            if rng.random() >= changed:
                texts.append("")
                seen.append(scene)
                continue
            seen.append(other_look(scene, rng))
            texts.append(captions.change(seen[-1], scene, language or rng.choice(data.LANGUAGES), rng))
        return texts, seen

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


def other_look(scene: data.Scene, rng) -> data.Scene:
    """The concept in another style, on another background, or both; now and then as it is. Never held out."""
    while True:
        keep_style, keep_colour = rng.random() < 0.3, rng.random() < 0.3
        style = scene.style if keep_style else rng.randrange(len(data.STYLES))
        colour = scene.colour if keep_colour else rng.randrange(len(data.COLOURS))
        look = data.Scene(scene.concept, style, colour)
        if not look.held_out:
            return look


def answer_loss(model: MiniCpmO, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """[sequences]"""
    index, mask = batch.answer_positions()
    rows = torch.arange(len(index))[:, None].expand_as(index)
    logits = model.llm.lm_head(states[-1][rows, index - 1])
    by_token = F.cross_entropy(logits.flatten(0, 1), batch.ids[rows, index].flatten(), reduction="none").view_as(mask)
    return (by_token * mask).sum(1) / mask.sum(1)


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


class Practice:
    """How wrong every concept goes in every language: the worse, the more often it is said."""

    def __init__(self, known: list[data.Scene]):
        self.scenes: dict[int, list[data.Scene]] = {}
        for scene in known:
            self.scenes.setdefault(scene.concept, []).append(scene)
        self.wrong = torch.full((len(self.scenes), len(data.LANGUAGES)), 0.1)

    def pick(self, count: int) -> tuple[list[data.Scene], list[str]]:
        chosen = torch.multinomial((self.wrong + 0.002).flatten(), count).tolist()
        pairs = [divmod(index, len(data.LANGUAGES)) for index in chosen]
        return [random.choice(self.scenes[concept]) for concept, _ in pairs], [data.LANGUAGES[x] for _, x in pairs]

    def note(self, scenes: list[data.Scene], languages: list[str], losses: torch.Tensor) -> None:
        for scene, language, loss in zip(scenes, languages, losses.tolist()):
            column = data.LANGUAGES.index(language)
            self.wrong[scene.concept, column] = 0.5 * (self.wrong[scene.concept, column] + loss)


def step_losses(teacher: Senses, utterances: Utterances, indices: list[int], practice: Practice, kinds: tuple) -> dict[str, torch.Tensor]:
    """Losses by kind of prompt, about the scenes of these utterances and, in words, others."""
    scenes = [utterances.scenes[i] for i in indices]
    more, languages = practice.pick(SAID - len(scenes))
    said = scenes + more
    others = [x if x != "en" else random.choice(data.LANGUAGES[1:]) for x in ["en"] * len(scenes) + languages]
    make = {
        "other": lambda: teacher.said(said, others), "shown": lambda: teacher.shown(scenes),
        "moving": lambda: teacher.moving(scenes), "heard": lambda: teacher.heard(utterances, indices, masked=True),
    }  # fmt: skip
    losses = {}
    losses["english"], english, english_mask = teacher.losses(teacher.said(said, ["en"] * len(said)))
    practice.note(said, ["en"] * len(said), losses["english"])
    for kind in kinds:
        losses[kind], states, mask = teacher.losses(make[kind]())
        count, longest = states.shape[1:3]
        alike = english.detach()[:, :count, :longest]
        losses[f"{kind}, as English"] = CONSISTENCY * consistency_loss(states, alike, mask & english_mask[:count, :longest])
    practice.note(said, others, losses["other"])
    return {kind: loss.mean() for kind, loss in losses.items()}


# ---- measuring -----------------------------------------------------------------------------------


@dataclass
class Accuracy:
    """Shares of prompts: every token right, and every token of the concept, the colour, the style.

    The answer's tokens are predicted behind the right ones, which for the whole answer and for the concept, which comes
    first, is what greedy decoding gets right.
    """

    exact: float
    concept: float
    background: float
    style: float

    def __str__(self) -> str:
        return f"{self.exact:.2f} ({self.concept:.2f}/{self.style:.2f}/{self.background:.2f})"


@torch.no_grad()
def accuracy(teacher: Senses, prompts: Prompts) -> Accuracy:
    batch = teacher.batch(prompts)
    index, mask = batch.answer_positions()
    rows = torch.arange(len(index))[:, None].expand_as(index)
    predicted = teacher.model.llm.lm_head(teacher.states(prompts, batch)[-1][rows, index - 1]).argmax(-1)
    right = (predicted == batch.ids[rows, index]) | ~mask
    shares = [right.all(1).float().mean().item()]
    texts = [captions.canonical(teacher.concepts, scene) for scene in prompts.wanted]
    offsets = teacher.tokens(texts, return_offsets_mapping=True)["offset_mapping"]
    for part in parts_of(teacher.concepts, prompts.wanted):
        whole = [
            all(right[row, i] for i, (start, end) in enumerate(offsets[row]) if start < part[row][1] and end > part[row][0])
            for row in range(len(texts))
        ]
        shares.append(sum(whole) / len(whole))
    return Accuracy(*shares)


def parts_of(concepts: list[dict], scenes: list[data.Scene]) -> list[list[tuple[int, int]]]:
    """Where in the canonical caption the concept, the colour and the style stand: [3][scenes] (start, end)."""
    places = [[], [], []]
    for scene in scenes:
        text, label = captions.canonical(concepts, scene), concepts[scene.concept]["labels"]["en"].lower()
        style, colour = data.STYLES[scene.style], data.COLOUR_NAMES[scene.colour]
        for place, start, part in zip(places, (0, len(label) + len(" on a "), len(text) - len(f"{style} style")), (label, colour, style)):
            assert text[start : start + len(part)] == part, text
            place.append((start, start + len(part)))
    return places


def report(teacher: Senses, tests: dict[str, Utterances], count: int, seed: int = 7) -> str:
    """Half of the scenes are held out, as `exact (concept/style/background)`."""
    lines = []
    everything = data.all_scenes(len(teacher.concepts))
    for name, scenes in (
        ("known scenes", [scene for scene in everything if not scene.held_out]),
        ("held-out scenes", [scene for scene in everything if scene.held_out]),
    ):
        rng = random.Random(seed)
        scenes = rng.sample(scenes, count)
        said = {x: accuracy(teacher, teacher.said(scenes, [x] * count, captions.scoring_caption, rng)) for x in data.LANGUAGES}
        lines.append(f"  {name}, said: " + ", ".join(f"{x} {share}" for x, share in said.items()))
        asked = {x: accuracy(teacher, teacher.shown(scenes, 1.0, x, rng)) for x in ("en", "zh", "de")}
        lines.append(f"  {name}, shown: {accuracy(teacher, teacher.shown(scenes, 0.0, rng=rng))}, and changed: "
                     + ", ".join(f"{x} {share}" for x, share in asked.items()))  # fmt: skip
        lines.append(f"  {name}, moving: {accuracy(teacher, teacher.moving(scenes, 0.0, rng=rng))}")
    for name, test in tests.items():
        by_language = {
            x: accuracy(teacher, teacher.heard(test, [i for i in range(len(test)) if test.languages[i] == x][:count], False))
            for x in sorted(set(test.languages))
        }
        lines.append(f"  heard, unknown {name}: " + ", ".join(f"{x} {share}" for x, share in by_language.items()))
    return "\n".join(lines)


# ---- training ------------------------------------------------------------------------------------


def widened(work, tokens) -> MiniCpmO:
    """The text model in MiniCPM-o's width, with towers that know nothing. Its embedding is what towers are taught: it stays."""
    model = MiniCpmO(senses.config(tokens))
    senses.widen(model, tokens, torch.load(work / "text.pt", weights_only=True))
    return learning(model)


def with_towers(work, tokens, unit: float) -> MiniCpmO:
    """The model that reads towers, with the towers of stages 3a and 3b, whose last matrices are in units again."""
    model = MiniCpmO(senses.config(tokens))
    model.load_state_dict(torch.load(work / "reader.pt", weights_only=True))
    for part in ("vision", "hearing"):
        unknown = model.load_state_dict(torch.load(work / f"{part}.pt", weights_only=True), strict=False).unexpected_keys
        assert not unknown, unknown
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
    parser = stage_arguments(__doc__, steps=550)
    parser.add_argument("--towers", action="store_true", help="read what the towers tell, not what is imagined")
    parser.add_argument("--test-count", type=int, default=48, help="prompts of a kind in a report")
    args = parser.parse_args()
    seed_everything(args.seed)
    art, _, concepts = data.load(args.work)
    tokens = senses.tokenizer(args.work, concepts)
    imagined = Imagined(args.work, tokens, concepts)
    unit = imagined.slots.unit if args.towers else 1.0
    model = with_towers(args.work, tokens, unit) if args.towers else widened(args.work, tokens)
    source = Towers(model, pictures.Gallery(art), unit) if args.towers else imagined
    stage = "senses" if args.towers else "reader"
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR, iterations=3)
    average = MovingAverage({stage: model}, decay=0.98)
    checkpoint = Checkpoint(args.work, stage, average, optimizer)
    first = checkpoint.load() if args.resume else 0
    teacher, folder = Senses(model, tokens, concepts, source), args.work / "speech"
    utterances, practice = Utterances.load(sorted(folder.glob("train-*.npz"))), Practice(pictures.shown_scenes(len(concepts)))
    tests = {name: Utterances.load([folder / f"{name}.npz"]) for name in ("voices", "scenes")}
    print(f"{stage} {parameter_count(model)}, {len(utterances)} utterances", flush=True)
    batches = batches_of_like_length(utterances, SCENES, pool=24)
    for step in range(first, args.steps):
        losses = step_losses(teacher, utterances, next(batches), practice, KINDS[step % len(KINDS)])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % (7 * len(KINDS)) == 0:
            facts = {kind: round(loss.item(), 3) for kind, loss in losses.items()}
            print(step + 1, facts, f"cpu {checkpoint.cpu_seconds():.0f} s", flush=True)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            checkpoint.save(step + 1)
            torch.save(scaled(average[stage].state_dict(), unit), args.work / f"{stage}.pt")
            teacher.model = teacher.source.model = average[stage]
            print(f"step {step + 1}\n{report(teacher, tests, args.test_count)}", flush=True)
            teacher.model = teacher.source.model = model


if __name__ == "__main__":
    main()
