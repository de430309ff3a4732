"""Stage 3b: the audio tower and its projection learn to tell what was said, in the language model's own English words.

    python train_hearing.py --work WORK

reads WORK/speech (speech.py, and human_voices.py if it was run) and WORK/text.pt and writes WORK/hearing.pt, the tensors `apm.*` and `audio_projection_layer.*`
of the language model to come. The first tokens of a clip fill the slots (slots.py), whatever its language, all others are
`<unk>`. Tokens alone teach slowly, since one would have to be found in the whole clip. espeak-ng knows what sounds when:
the second layer is told every frame's phoneme; the third whether the frame is part of a concept's, a colour's or a style's
name, and of all frames of a name together, which it is; the last has only to gather them. The heads that are told are
thrown away. What takes the longest are the 3,300 names of concepts, so half of the time goes to clips that say little else.
Told frame by frame, with one class for everything else, the third layer had learned colours and styles after 900 steps,
but no concept.
"""

import random
from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import nn

import data
import senses
import vocabulary
from minicpm_o import AudioProjection, AudioTower, half
from muon import MuonAdamW, split_parameters
from senses import CONFIG
from slots import Slots
from speech import Utterances
from training import (
    Checkpoint, MovingAverage, half_precision, parameter_count, seed_everything, stage_arguments, warm_up_then_decay,
)  # fmt: skip

BATCH, POOL = 7500, 12  # mel frames; batches that are cut from one sorted pool, so that clips of a batch are about as long
SHORT = 0.5  # share of the batches with short clips
MUON_LR, ADAM_LR = 3e-3, 1e-3
PHONEMES_AT, NAMES_AT = 1, 2  # layers that are told
WEIGHTS = (0.5, 1.0, 0.5)  # of the tokens, phonemes and names
NONE = 0  # the number of no phoneme and of no name
REST = 0.5  # weight of the squared error of the tokens behind the slots
STRETCH, TIMBRE, KNOTS = 0.15, 0.25, 7  # of frequencies; of a spectrogram's values, in a curve of so many points
LOUDNESS = 0.4  # of all its values together: 16 dB
MILLISECONDS = 20  # a frame of the tower


class Listener(nn.Module):
    """The parts under their own names, with heads that say what frames are part of."""

    def __init__(self, phonemes: int, concepts: int):
        super().__init__()
        hidden, audio = CONFIG["hidden_size"], CONFIG["audio_config"]
        width, classes = audio["d_model"], (concepts, len(data.COLOURS), len(data.STYLES))
        self.apm = AudioTower(audio, CONFIG["audio_chunk_length"])
        self.audio_projection_layer = AudioProjection(width, hidden)
        self.phoneme_head, self.kind_head = nn.Linear(width, phonemes), nn.Linear(width, 1 + len(classes))
        self.name_heads = nn.ModuleList(nn.Linear(width, n) for n in classes)

    def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens in units [clips, frames / 10, hidden]; states for phonemes and for names [clips, frames / 2, width]."""
        with half_precision():
            states = self.apm.states(mel, frames)
            heard = self.audio_projection_layer(self.apm.layer_norm(states[-1]))
        tokens = F.avg_pool1d(heard.float().transpose(1, 2), CONFIG["audio_pool_step"]).transpose(1, 2)
        states = [layer.float() for layer in states]
        return tokens, *(F.layer_norm(states[layer], states[layer].shape[-1:]) for layer in (PHONEMES_AT, NAMES_AT))

    def names(self, states: torch.Tensor, kinds: torch.Tensor, scenes: list[data.Scene]):
        """(logits, which it is) of the concepts, the colours and the styles that are named."""
        classes = torch.tensor([[scene.concept, scene.colour, scene.style] for scene in scenes])
        for kind, head in enumerate(self.name_heads, 1):
            part = kinds == kind
            named = part.any(1)
            part = part[named].float()
            yield head((part[:, None] @ states[named])[:, 0] / part.sum(1, keepdim=True)), classes[named, kind - 1]

    def weights(self, unit: float) -> dict[str, torch.Tensor]:
        """For tokens as large as the text's."""
        weights = {name: tensor for name, tensor in self.state_dict().items() if "head" not in name}
        last = [f"audio_projection_layer.linear2.{kind}" for kind in ("weight", "bias")]
        return weights | {name: weights[name] * unit for name in last}


class Frames:
    """What sounds when, in numbers."""

    def __init__(self, utterances: Utterances):
        signs = {event.partition("@")[0] for line in utterances.phonemes for event in line.split(" ")} - {""}
        self.numbers = {sign: number for number, sign in enumerate(sorted(signs), 1)}

    def phonemes(self, utterances: Utterances, index: int) -> torch.Tensor:
        """[the tower's frames of the clip]: what sounds in the middle of each."""
        numbers, starts = [NONE], [0.0]
        for event in utterances.phonemes[index].split(" "):
            sign, _, start = event.partition("@")
            numbers.append(self.numbers.get(sign, NONE))
            starts.append(float(start))
        middles = (torch.arange(half(utterances.frames[index])) + 0.5) * MILLISECONDS
        return torch.tensor(numbers)[torch.searchsorted(torch.tensor(starts), middles, right=True) - 1]

    def kinds(self, utterances: Utterances, index: int) -> torch.Tensor:
        """The same of names: 1 where the concept's sounds, 2 the colour's, 3 the style's."""
        frames, spans = torch.full((half(utterances.frames[index]),), NONE), utterances.spans[index]
        for kind, (start, end) in enumerate(zip(spans[::2], spans[1::2]), 1):
            frames[start // MILLISECONDS : end // MILLISECONDS] = kind
        return frames

    def batch(self, utterances: Utterances, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Phonemes and kinds [clips, frames of the longest], -100 behind each."""
        padded = lambda rows: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)  # noqa: E731
        return tuple(padded([make(utterances, i) for i in indices]) for make in (self.phonemes, self.kinds))


def losses(model: Listener, slots: Slots, frames: Frames, utterances: Utterances, indices: list[int]) -> tuple:
    """(slots and the tokens behind them, phonemes, names)"""
    mel, lengths = utterances.batch(indices)
    mel = disguise(mel, lengths)
    mask_some(mel)
    scenes = [utterances.scenes[i] for i in indices]
    tokens, sounds, words = model(mel, lengths)
    phonemes, kinds = frames.batch(utterances, indices)
    told = slots.loss(tokens[:, : senses.SLOTS], slots.words(scenes))
    rest = (tokens[:, senses.SLOTS :] - slots.embedding[slots.filler]).square().mean()
    by_frame = lambda logits, wanted: F.cross_entropy(logits.flatten(0, 1), wanted.flatten())  # noqa: E731
    names = by_frame(model.kind_head(words), kinds)
    names = names + sum(F.cross_entropy(a, b) for a, b in model.names(words, kinds, scenes) if len(b))
    return told + REST * rest.nan_to_num(), by_frame(model.phoneme_head(sounds), phonemes), names


def disguise(mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Every other clip by a voice that espeak-ng does not have: frequencies stretched, and some louder, or all or none."""
    clips, bins, frames = mel.shape
    chosen = (torch.rand(clips, 1) < 0.5).float()
    stretch = 1 + chosen * (torch.rand(clips, 1) - 0.5) * 2 * STRETCH
    place = (torch.arange(bins) * stretch).clamp(max=bins - 1.001)
    low = place.long()[..., None].expand(-1, -1, frames)
    stretched = torch.lerp(mel.gather(1, low), mel.gather(1, low + 1), (place - place.floor())[..., None])
    curve = F.interpolate((torch.rand(clips, 1, KNOTS) - 0.5) * 2 * TIMBRE, bins, mode="linear", align_corners=True)[:, 0]
    curve = curve + (torch.rand(clips, 1) - 0.5) * 2 * LOUDNESS
    inside = torch.arange(frames) < lengths[:, None]
    return (stretched + (chosen * curve)[..., None]) * inside[:, None]


def mask_some(mel: torch.Tensor) -> None:
    """A band of frequencies and a stretch of time of every other clip are silenced, in place."""
    for clip in mel:
        if random.random() < 0.5:
            band, start = random.randint(0, 12), random.randint(0, 68)
            clip[start : start + band] = clip.min()
            stretch, start = random.randint(0, 15), random.randint(0, max(0, clip.shape[1] - 15))
            clip[:, start : start + stretch] = clip.min()


def batches_of_like_length(utterances: Utterances, size: int, pool: int):
    """Indices of `size` clips for ever, each epoch in another order."""
    while True:
        order = random.sample(range(len(utterances)), len(utterances))
        for start in range(0, len(order) - size + 1, size * pool):
            chunk = sorted(order[start : start + size * pool], key=lambda i: utterances.frames[i])
            cut = [chunk[i : i + size] for i in range(0, len(chunk) - size + 1, size)]
            yield from random.sample(cut, len(cut))


def batches_of_frames(utterances: Utterances, frames: int):
    """The same, with as many clips as have about so many frames."""
    return batches_of_like_length(utterances, round(frames * len(utterances) / sum(utterances.frames)), POOL)


@torch.no_grad()
def accuracy(model: Listener, slots: Slots, frames: Frames, test: Utterances) -> str:
    """Shares of scenes (concept, style, colour) told rightly, of concepts by language, of frames (phonemes, kinds), of names."""
    told, right, count, names, by_language = torch.zeros(3), [0, 0], 0, 0, defaultdict(list)
    order = sorted(range(len(test)), key=lambda i: test.frames[i])
    for start in range(0, len(order), 50):
        indices = order[start : start + 50]
        scenes = [test.scenes[i] for i in indices]
        tokens, sounds, words = model(*test.batch(indices))
        wanted = frames.batch(test, indices)
        logits = model.phoneme_head(sounds), model.kind_head(words)
        right = [known + (a.argmax(-1) == b).sum().item() for known, a, b in zip(right, logits, wanted)]
        count += (wanted[0] >= 0).sum().item()
        scenes_right = slots.right(tokens[:, : senses.SLOTS], scenes)
        told += scenes_right.sum(1)
        for index, concept in zip(indices, scenes_right[0].tolist()):
            by_language[test.languages[index]].append(concept)
        guessed, concepts = next(model.names(words, wanted[1], scenes))
        names += (guessed.argmax(1) == concepts).sum().item()
    frames_right = [round(x / count, 3) for x in right]
    languages = {language: round(sum(own) / len(own), 2) for language, own in by_language.items()}
    return f"{[round(x, 3) for x in (told / len(test)).tolist()]} {languages} frames {frames_right} names {names / len(test):.3f}"


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim in (2, 3) and not any(part in name for part in ("embed_positions", "head"))


def main() -> None:
    args = stage_arguments(__doc__, steps=8000).parse_args()
    seed_everything(args.seed)
    concepts = data.load(args.work)[2]
    folder = args.work / "speech"
    whole, short = (Utterances.load(sorted(folder.glob(f"{kind}-*.npz"))) for kind in ("train", "short"))
    tests = {name: Utterances.load([folder / f"{name}.npz"]) for name in ("voices", "scenes", "human") if (folder / f"{name}.npz").exists()}
    frames = Frames(Utterances.load([folder / "train-00.npz"]))  # the same, however many shards there are
    slots = Slots(args.work, vocabulary.language_model_tokenizer(args.work, concepts), concepts)
    model = Listener(1 + len(frames.numbers), len(concepts) - 1)  # UNKNOWN is never spoken
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR)
    average = MovingAverage({"hearing": model}, decay=0.99)
    checkpoint = Checkpoint(args.work, "hearing", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"hearing {parameter_count(model)}, {len(whole)} + {len(short)} utterances, {len(frames.numbers)} phonemes", flush=True)
    batches = [(utterances, batches_of_frames(utterances, BATCH)) for utterances in (whole, short)]
    for step in range(first, args.steps):
        utterances, source = batches[random.random() < SHORT]
        parts = losses(model, slots, frames, utterances, next(source))
        optimizer.zero_grad()
        sum(weight * part for weight, part in zip(WEIGHTS, parts)).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            checkpoint.save(step + 1)
            torch.save(average["hearing"].weights(slots.unit), args.work / "hearing.pt")
            scores = {name: accuracy(average["hearing"], slots, frames, test) for name, test in tests.items()}
            print(
                f"step {step + 1} slots, phonemes, names {[round(part.item(), 3) for part in parts]} {scores} "
                f"cpu {checkpoint.cpu_seconds():.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
