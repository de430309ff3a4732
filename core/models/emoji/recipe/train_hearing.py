"""Stage 3b: the audio tower and its projection learn to hear, as a recognizer of phonemes and of the scene.

    python train_hearing.py --work WORK

reads WORK/speech (speech.py) and writes WORK/hearing.pt, the tensors `apm.*` and `audio_projection_layer.*` of the
language model to come. Two losses. CTC on espeak-ng's own phonemes at the tower's frames teaches sounds, in every frame
and whatever the language; cross-entropy of concept, style and colour on the projection's tokens, gathered by one learned
query, teaches what they mean. Phonemes, query and heads are thrown away: a token of sound costs the tower a fifth of what
it costs the language model, so most of the learning is done here.
"""

import random
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn

import data
from minicpm_o import AudioProjection, AudioTower, half
from muon import MuonAdamW, split_parameters
from senses import CONFIG
from speech import Utterances
from train_vision import targets
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

BATCH, POOL = 32, 12  # clips; batches that are cut from one sorted pool, so that clips of a batch are about as long
MUON_LR, ADAM_LR = 1e-2, 2e-3
MEANING = 0.5  # weight of the second loss
RARE = 3  # phonemes heard less often are left out


class Recognizer(nn.Module):
    def __init__(self, phonemes: int, concepts: int):
        super().__init__()
        width, audio = CONFIG["hidden_size"], CONFIG["audio_config"]
        self.apm = AudioTower(audio, CONFIG["audio_chunk_length"])
        self.audio_projection_layer = AudioProjection(audio["d_model"], width)
        self.phoneme_head = nn.Linear(audio["d_model"], 1 + phonemes)  # 0 is CTC's blank
        self.query_head = nn.Parameter(torch.zeros(3, width))  # one for concept, style and colour each
        self.heads = nn.ModuleList(nn.Linear(width, n) for n in (concepts, len(data.STYLES), len(data.COLOURS)))

    def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(log-probabilities [frames / 2, clips, phonemes], logits [clips, classes] of concept, style and colour)"""
        heard = self.apm(mel, frames)
        tokens = F.avg_pool1d(self.audio_projection_layer(heard).transpose(1, 2), CONFIG["audio_pool_step"]).transpose(1, 2)
        inside = torch.arange(tokens.shape[1]) < (half(frames) // CONFIG["audio_pool_step"])[:, None]
        normal = F.layer_norm(tokens, tokens.shape[-1:])
        attention = (normal @ self.query_head.T).masked_fill(~inside[..., None], -1e9).softmax(1)
        gathered = attention.transpose(1, 2) @ normal  # [clips, 3, width]
        meaning = [head(gathered[:, i]) for i, head in enumerate(self.heads)]
        return F.log_softmax(self.phoneme_head(heard), -1).transpose(0, 1), meaning


class Phonemes:
    """Numbers of the phonemes of an utterance."""

    def __init__(self, utterances: Utterances):
        counts = Counter(sign for line in utterances.phonemes for sign in line.split("_"))
        self.numbers = {sign: i + 1 for i, sign in enumerate(sorted(s for s, n in counts.items() if n >= RARE))}

    def of(self, lines: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(all numbers in a row, how many a line)"""
        rows = [[self.numbers[sign] for sign in line.split("_") if sign in self.numbers] for line in lines]
        return torch.tensor([n for row in rows for n in row]), torch.tensor([len(row) for row in rows])


def losses(model: Recognizer, phonemes: Phonemes, utterances: Utterances, indices: list[int]):
    mel, frames = utterances.batch(indices)
    mask_some(mel)
    signs, meaning = model(mel, frames)
    wanted, lengths = phonemes.of([utterances.phonemes[i] for i in indices])
    ctc = F.ctc_loss(signs, wanted, half(frames), lengths, zero_infinity=True)
    scenes = targets([utterances.scenes[i] for i in indices])
    return ctc, sum(F.cross_entropy(a, b) for a, b in zip(meaning, scenes))


def mask_some(mel: torch.Tensor) -> None:
    """A band of frequencies and a stretch of time of every other clip are silenced, in place."""
    for clip in mel:
        if random.random() < 0.5:
            band, start = random.randint(0, 12), random.randint(0, 68)
            clip[start : start + band] = clip.min()
            stretch, start = random.randint(0, 15), random.randint(0, max(0, clip.shape[1] - 15))
            clip[:, start : start + stretch] = clip.min()


def batches_of_like_length(utterances: Utterances, size: int, pool: int):
    """Indices for ever, each epoch in another order."""
    while True:
        order = random.sample(range(len(utterances)), len(utterances))
        for start in range(0, len(order) - size + 1, size * pool):
            chunk = sorted(order[start : start + size * pool], key=lambda i: utterances.frames[i])
            cut = [chunk[i : i + size] for i in range(0, len(chunk) - size + 1, size)]
            yield from random.sample(cut, len(cut))


@torch.no_grad()
def accuracy(model: Recognizer, phonemes: Phonemes, test: Utterances) -> str:
    """Right phonemes (greedy, by edits), concepts, styles and colours."""
    edits = length = 0
    right = torch.zeros(3)
    order = sorted(range(len(test)), key=lambda i: test.frames[i])
    for start in range(0, len(order), 50):
        indices = order[start : start + 50]
        mel, frames = test.batch(indices)
        signs, meaning = model(mel, frames)
        for row, index in enumerate(indices):
            best = signs[: int(half(frames[row])), row].argmax(1)
            found = [n for n in torch.unique_consecutive(best).tolist() if n]
            wanted = phonemes.of([test.phonemes[index]])[0].tolist()
            edits, length = edits + edit_distance(found, wanted), length + len(wanted)
        scenes = targets([test.scenes[i] for i in indices])
        right += torch.tensor([(a.argmax(1) == b).float().sum() for a, b in zip(meaning, scenes)])
    return f"phonemes {1 - edits / length:.3f} scene {[round(share, 3) for share in (right / len(test)).tolist()]}"


def edit_distance(a: list[int], b: list[int]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim in (2, 3) and not any(part in name for part in ("embed_positions", "head"))


def main() -> None:
    args = stage_arguments(__doc__, steps=1600).parse_args()
    seed_everything(args.seed)
    concepts = data.load(args.work)[2]
    folder = args.work / "speech"
    train = Utterances.load(sorted(folder.glob("train-*.npz")))
    tests = {name: Utterances.load([folder / f"{name}.npz"]) for name in ("voices", "scenes")}
    phonemes = Phonemes(Utterances.load([folder / "train-00.npz"]))
    model = Recognizer(len(phonemes.numbers), len(concepts))
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR, iterations=3)
    average = MovingAverage({"hearing": model}, decay=0.99)
    checkpoint = Checkpoint(args.work, "hearing", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"hearing {parameter_count(model)}, {len(train)} utterances, {len(phonemes.numbers)} phonemes", flush=True)
    batches = batches_of_like_length(train, BATCH, POOL)
    for step in range(first, args.steps):
        sounds, meaning = losses(model, phonemes, train, next(batches))
        optimizer.zero_grad()
        (sounds + MEANING * meaning).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            checkpoint.save(step + 1)
            weights = average["hearing"].state_dict()
            torch.save({k: v for k, v in weights.items() if "head" not in k}, args.work / "hearing.pt")
            scores = {name: accuracy(average["hearing"], phonemes, test) for name, test in tests.items()}
            print(
                f"step {step + 1} ctc {sounds.item():.3f} meaning {meaning.item():.3f} {scores} "
                f"cpu {checkpoint.cpu_seconds():.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
