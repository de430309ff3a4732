"""Stage 3b: the audio tower and its projection learn to tell what was said, in the language model's own English words.

    python train_hearing.py --work WORK

reads WORK/speech (speech.py) and WORK/text.pt and writes WORK/hearing.pt, the tensors `apm.*` and `audio_projection_layer.*`
of the language model to come. The first tokens of a clip fill the slots (slots.py), whatever its language, all others are
`<unk>`. Tokens alone teach slowly, since one would have to be found in the whole clip. espeak-ng knows what sounds when:
the second layer is told every frame's phoneme, the third the concept, colour or style whose word the frame is part
of, and the last has only to gather them. The two heads that are told are thrown away. What takes the longest are the 800
words for the concepts, so half of the time goes to clips that say little else.
"""

import random

import torch
import torch.nn.functional as F
from torch import nn

import data
import senses
from minicpm_o import AudioProjection, AudioTower, half
from muon import MuonAdamW, split_parameters
from senses import CONFIG
from slots import Slots
from speech import Utterances
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

BATCH, POOL = 7500, 12  # mel frames; batches that are cut from one sorted pool, so that clips of a batch are about as long
SHORT = 0.5  # share of the batches with short clips
MUON_LR, ADAM_LR = 1e-2, 2e-3
PHONEMES_AT, WORDS_AT = 1, 2  # layers that are told
WEIGHTS = (0.5, 1.0, 2.0)  # of the tokens, phonemes and words
SILENCE = 0  # the number of no phoneme and of no word
REST = 0.5  # weight of the squared error of the tokens behind the slots
MILLISECONDS = 20  # a frame of the tower
SHORTEST = 2 * senses.SLOTS * CONFIG["audio_pool_step"]  # mel frames that have tokens for all slots; hardly a clip has fewer


class Listener(nn.Module):
    """The parts under their own names, with heads that say what frames are part of."""

    def __init__(self, phonemes: int, words: int):
        super().__init__()
        width, audio = CONFIG["hidden_size"], CONFIG["audio_config"]
        self.apm = AudioTower(audio, CONFIG["audio_chunk_length"])
        self.audio_projection_layer = AudioProjection(audio["d_model"], width)
        self.phoneme_head, self.word_head = nn.Linear(audio["d_model"], phonemes), nn.Linear(audio["d_model"], words)

    def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens in units [clips, frames / 10, hidden]; logits of phonemes and of words [clips, frames / 2, classes]."""
        states = self.apm.states(mel, frames)
        heard = self.audio_projection_layer(self.apm.layer_norm(states[-1]))
        tokens = F.avg_pool1d(heard.transpose(1, 2), CONFIG["audio_pool_step"]).transpose(1, 2)
        normal = lambda layer: F.layer_norm(states[layer], states[layer].shape[-1:])  # noqa: E731
        return tokens, self.phoneme_head(normal(PHONEMES_AT)), self.word_head(normal(WORDS_AT))

    def weights(self, unit: float) -> dict[str, torch.Tensor]:
        """For tokens as large as the text's."""
        weights = {name: tensor for name, tensor in self.state_dict().items() if "head" not in name}
        last = [f"audio_projection_layer.linear2.{kind}" for kind in ("weight", "bias")]
        return weights | {name: weights[name] * unit for name in last}


class Frames:
    """What sounds when, in numbers."""

    def __init__(self, utterances: Utterances, concepts: int):
        signs = {event.partition("@")[0] for line in utterances.phonemes for event in line.split(" ")} - {""}
        self.numbers = {sign: number for number, sign in enumerate(sorted(signs), 1)}
        self.phoneme_count = 1 + len(self.numbers)
        self.starts = (1, 1 + concepts, 1 + concepts + len(data.COLOURS))  # numbers of concepts, colours, styles
        self.word_count = self.starts[-1] + len(data.STYLES)

    def phonemes(self, utterances: Utterances, index: int) -> torch.Tensor:
        """[the tower's frames of the clip]: what sounds in the middle of each."""
        numbers, starts = [SILENCE], [0.0]
        for event in utterances.phonemes[index].split(" "):
            sign, _, start = event.partition("@")
            numbers.append(self.numbers.get(sign, SILENCE))
            starts.append(float(start))
        middles = (torch.arange(half(utterances.frames[index])) + 0.5) * MILLISECONDS
        return torch.tensor(numbers)[torch.searchsorted(torch.tensor(starts), middles, right=True) - 1]

    def words(self, utterances: Utterances, index: int) -> torch.Tensor:
        scene, spans = utterances.scenes[index], utterances.spans[index]
        frames = torch.full((half(utterances.frames[index]),), SILENCE)
        for number, start, end, base in zip((scene.concept, scene.colour, scene.style), spans[::2], spans[1::2], self.starts):
            frames[start // MILLISECONDS : end // MILLISECONDS] = base + number
        return frames

    def batch(self, utterances: Utterances, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Phonemes and words [clips, frames of the longest], -100 behind each."""
        padded = lambda rows: torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)  # noqa: E731
        return tuple(padded([make(utterances, i) for i in indices]) for make in (self.phonemes, self.words))


def losses(model: Listener, slots: Slots, frames: Frames, utterances: Utterances, indices: list[int]) -> tuple:
    """(slots and the tokens behind them, phonemes, words)"""
    mel, lengths = utterances.batch(indices)
    mask_some(mel)
    tokens, *logits = model(mel, lengths)
    told = slots.loss(tokens[:, : senses.SLOTS], slots.words([utterances.scenes[i] for i in indices]))
    rest = (tokens[:, senses.SLOTS :] - slots.embedding[slots.filler]).square().mean()
    sounds = [F.cross_entropy(a.flatten(0, 1), b.flatten()) for a, b in zip(logits, frames.batch(utterances, indices))]
    return told + REST * rest, *sounds


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
    usable = [i for i, frames in enumerate(utterances.frames) if frames >= SHORTEST]
    while True:
        order = random.sample(usable, len(usable))
        for start in range(0, len(order) - size + 1, size * pool):
            chunk = sorted(order[start : start + size * pool], key=lambda i: utterances.frames[i])
            cut = [chunk[i : i + size] for i in range(0, len(chunk) - size + 1, size)]
            yield from random.sample(cut, len(cut))


def batches_of_frames(utterances: Utterances, frames: int):
    """The same, with as many clips as have about so many frames."""
    return batches_of_like_length(utterances, round(frames * len(utterances) / sum(utterances.frames)), POOL)


@torch.no_grad()
def accuracy(model: Listener, slots: Slots, frames: Frames, test: Utterances) -> str:
    """Shares of frames (phonemes, words) and of scenes (concept, style, colour) told rightly."""
    told, right, count = torch.zeros(3), [0, 0], 0
    order = sorted(range(len(test)), key=lambda i: test.frames[i])
    for start in range(0, len(order), 50):
        indices = order[start : start + 50]
        tokens, *logits = model(*test.batch(indices))
        wanted = frames.batch(test, indices)
        right = [known + (a.argmax(-1) == b).sum().item() for known, a, b in zip(right, logits, wanted)]
        count += (wanted[0] >= 0).sum().item()
        told += slots.right(tokens[:, : senses.SLOTS], [test.scenes[i] for i in indices]).sum(1)
    return f"{[round(x, 3) for x in (told / len(test)).tolist()]} frames {[round(x / count, 3) for x in right]}"


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim in (2, 3) and not any(part in name for part in ("embed_positions", "head"))


def main() -> None:
    args = stage_arguments(__doc__, steps=5000).parse_args()
    seed_everything(args.seed)
    concepts = data.load(args.work)[2]
    folder = args.work / "speech"
    whole, short = (Utterances.load(sorted(folder.glob(f"{kind}-*.npz"))) for kind in ("train", "short"))
    tests = {name: Utterances.load([folder / f"{name}.npz"]) for name in ("voices", "scenes")}
    frames = Frames(Utterances.load([folder / "train-00.npz"]), len(concepts))  # the same, however many shards there are
    slots = Slots(args.work, senses.tokenizer(args.work, concepts), concepts)
    model = Listener(frames.phoneme_count, frames.word_count)
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR, iterations=3)
    average = MovingAverage({"hearing": model}, decay=0.99)
    checkpoint = Checkpoint(args.work, "hearing", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"hearing {parameter_count(model)}, {len(whole)} + {len(short)} utterances, {frames.phoneme_count} phonemes", flush=True)
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
                f"step {step + 1} slots, phonemes, words {[round(part.item(), 3) for part in parts]} {scores} "
                f"cpu {checkpoint.cpu_seconds():.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
