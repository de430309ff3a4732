"""Stage 3b: the audio tower and its projection learn to hear, as a recognizer of phonemes and of the scene.

    python train_hearing.py --work WORK

reads WORK/speech (speech.py) and writes WORK/hearing.pt, the tensors `apm.*` and `audio_projection_layer.*` of the
language model to come. Two losses. Cross-entropy of the phoneme that sounds, in every frame of the tower, which
espeak-ng knows exactly (CTC, which would have to find that out, had learned nothing after 100 steps); and of concept,
style and colour, on the projection's tokens gathered by a learned query each. Queries and heads are thrown away. A token
of sound costs the tower a fifth of what it costs the language model, so most of the learning is done here.
"""

import random

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
PAUSE = 0  # the number of no phoneme
MILLISECONDS = 20  # a frame of the tower


class Recognizer(nn.Module):
    def __init__(self, phonemes: int, concepts: int):
        super().__init__()
        width, audio = CONFIG["hidden_size"], CONFIG["audio_config"]
        self.apm = AudioTower(audio, CONFIG["audio_chunk_length"])
        self.audio_projection_layer = AudioProjection(audio["d_model"], width)
        self.phoneme_head = nn.Linear(audio["d_model"], phonemes)
        self.query_head = nn.Parameter(torch.zeros(3, width))  # one for concept, style and colour each
        self.heads = nn.ModuleList(nn.Linear(width, n) for n in (concepts, len(data.STYLES), len(data.COLOURS)))

    def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits: of phonemes [clips, frames / 2, phonemes]; of concept, style and colour [clips, classes] each."""
        heard = self.apm(mel, frames)
        tokens = F.avg_pool1d(self.audio_projection_layer(heard).transpose(1, 2), CONFIG["audio_pool_step"]).transpose(1, 2)
        inside = torch.arange(tokens.shape[1]) < (half(frames) // CONFIG["audio_pool_step"])[:, None]
        normal = F.layer_norm(tokens, tokens.shape[-1:])
        attention = (normal @ self.query_head.T).masked_fill(~inside[..., None], -1e9).softmax(1)
        gathered = attention.transpose(1, 2) @ normal  # [clips, 3, width]
        meaning = [head(gathered[:, i]) for i, head in enumerate(self.heads)]
        return self.phoneme_head(heard), meaning


class Phonemes:
    """What sounds when, in numbers."""

    def __init__(self, utterances: Utterances):
        signs = {event.partition("@")[0] for line in utterances.phonemes for event in line.split(" ")} - {""}
        self.numbers = {sign: number for number, sign in enumerate(sorted(signs), 1)}

    def __len__(self) -> int:
        return 1 + len(self.numbers)

    def frames(self, line: str, count: int) -> torch.Tensor:
        """[count] of the tower's frames: what sounds in the middle of each."""
        numbers, starts = [PAUSE], [0.0]
        for event in line.split(" "):
            sign, _, start = event.partition("@")
            numbers.append(self.numbers.get(sign, PAUSE))
            starts.append(float(start))
        middles = (torch.arange(count) + 0.5) * MILLISECONDS
        return torch.tensor(numbers)[torch.searchsorted(torch.tensor(starts), middles, right=True) - 1]

    def batch(self, utterances: Utterances, indices: list[int]) -> torch.Tensor:
        """[clips, frames of the longest], -100 behind each."""
        rows = [self.frames(utterances.phonemes[i], half(utterances.frames[i])) for i in indices]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)


def losses(model: Recognizer, phonemes: Phonemes, utterances: Utterances, indices: list[int]):
    mel, frames = utterances.batch(indices)
    mask_some(mel)
    signs, meaning = model(mel, frames)
    sounds = F.cross_entropy(signs.flatten(0, 1), phonemes.batch(utterances, indices).flatten())
    scenes = targets([utterances.scenes[i] for i in indices])
    return sounds, sum(F.cross_entropy(a, b) for a, b in zip(meaning, scenes))


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
    """Right frames, concepts, styles and colours."""
    right, frames_right, frames_all = torch.zeros(3), 0, 0
    order = sorted(range(len(test)), key=lambda i: test.frames[i])
    for start in range(0, len(order), 50):
        indices = order[start : start + 50]
        signs, meaning = model(*test.batch(indices))
        wanted = phonemes.batch(test, indices)
        frames_right += (signs.argmax(-1) == wanted).sum().item()
        frames_all += (wanted >= 0).sum().item()
        scenes = targets([test.scenes[i] for i in indices])
        right += torch.tensor([(a.argmax(1) == b).float().sum() for a, b in zip(meaning, scenes)])
    return f"frames {frames_right / frames_all:.3f} scene {[round(share, 3) for share in (right / len(test)).tolist()]}"


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim in (2, 3) and not any(part in name for part in ("embed_positions", "head"))


def main() -> None:
    args = stage_arguments(__doc__, steps=1600).parse_args()
    seed_everything(args.seed)
    concepts = data.load(args.work)[2]
    folder = args.work / "speech"
    train = Utterances.load(sorted(folder.glob("train-*.npz")))
    tests = {name: Utterances.load([folder / f"{name}.npz"]) for name in ("voices", "scenes")}
    phonemes = Phonemes(Utterances.load([folder / "train-00.npz"]))  # the same, however many shards there are
    model = Recognizer(len(phonemes), len(concepts))
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR, iterations=3)
    average = MovingAverage({"hearing": model}, decay=0.99)
    checkpoint = Checkpoint(args.work, "hearing", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"hearing {parameter_count(model)}, {len(train)} utterances, {len(phonemes)} phonemes", flush=True)
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
                f"step {step + 1} sounds {sounds.item():.3f} meaning {meaning.item():.3f} {scores} "
                f"cpu {checkpoint.cpu_seconds():.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
