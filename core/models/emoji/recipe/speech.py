"""Spoken captions: espeak-ng reads training captions in eight languages, and Whisper's log-mel spectrograms are kept.

    python speech.py --work WORK

writes WORK/speech/{train,short}-NN.npz (SHARD utterances each; a shard that is there is kept; short ones name the concept
and little else) and WORK/speech/{voices,scenes}.npz, the two tests: known scenes by voices that training never hears, and
held-out scenes by voices it does. All are scenes of one thing, and never of data.UNKNOWN. Needs the library of espeak-ng
1.51 (Debian: apt-get install espeak-ng) and `soxr`, librosa's own resampler. Voices, speed, pitch and pauses are random, and
a third of the utterances have some noise. espeak-ng also tells when every phoneme and every word begins, which teaches the
audio tower (train_hearing.py). A whole caption takes about 6 ms, a short one 3.
"""

import argparse
import ctypes
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import captions
import data
import readings
import senses

RATE, BINS, WINDOW, HOP = 16_000, 80, 400, 160
DECADES = 8.0  # that a spectrogram spans at most, below its loudest value
LANGUAGES = {
    "en": ["en-us", "en-us", "en", "en", "en-gb-x-rp", "en-gb-scotland"], "de": ["de"], "fr": ["fr", "fr", "fr-be", "fr-ch"],
    "es": ["es", "es", "es-419"], "ru": ["ru"], "zh": ["cmn-latn-pinyin"], "ja": ["ja"],
    "vi": ["vi", "vi", "vi-vn-x-central", "vi-vn-x-south"],
}  # fmt: skip
# In turn: English has many accents.
SPOKEN = ("en", "ru", "de", "zh", "fr", "ja", "en", "es", "vi", "ru", "de", "zh", "en", "fr", "ja", "es", "vi")
# espeak-ng's variants, as far as a human could be meant. Left out: whispers, robots, echoes, formants far from any mouth
# (kaukovalta, Tweaky, Storm, Lee) and copies of another. Women are fewer, so they speak twice as often.
WOMEN = ["f1", "f2", "f3", "f5", "Andrea", "Annie", "anika", "grandma", "linda", "shelby", "steph"]
VARIANTS = [
    "", "", "", *WOMEN, *WOMEN, "m1", "m2", "m3", "m6", "m7", "m8", "Alex", "Andy", "Denis", "Diogo", "Gene", "Gene2", "Henrique",
    "Hugo", "Jacky", "Mario", "Michael", "Mike", "Mr serious", "Nguyen", "antonio", "boris", "croak", "ed", "grandpa", "gustave",
    "iven", "iven3", "john", "klatt", "klatt2", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy",
    "rob", "robert", "sandro", "travis", "victor", "zac",
]  # fmt: skip
# Never heard in training, nor are those that sound like them: by the mean spectrum of a caption m4 (m5), aunty (f4) and
# klatt3 to klatt6 (adam), and by the same synthesizer as adam's caleb, benjamin, david, edward and announcer.
HELD_OUT_VARIANTS = ["m5", "f4", "belinda", "adam"]
SHORTEST = 2 * senses.SLOTS * senses.CONFIG["audio_pool_step"]  # frames that have tokens for all slots; silence follows a shorter clip
SHARD = 2000
TEST = 800  # utterances, 100 a language


# ---- speaking ------------------------------------------------------------------------------------


class EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class Event(ctypes.Structure):
    """`espeak_EVENT`; `audio_position` is in milliseconds."""

    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", EventId),
    ]  # fmt: skip


class Speaker:
    """espeak-ng as a library: a process an utterance would cost six times as much."""

    SYNCHRONOUS, UTF8, BY_CHARACTER, PHONEME_EVENTS_IN_IPA = 2, 1, 1, 3
    RATE_PARAMETER, PITCH, RANGE, WORD_GAP = 1, 3, 4, 7
    LAST, WORD, PHONEME = 0, 1, 7  # types of events

    def __init__(self):
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, None, self.PHONEME_EVENTS_IN_IPA)
        assert self.rate > 0, "espeak-ng did not start: is its data installed?"
        self.pieces: list[np.ndarray] = []
        self.phonemes: list[tuple[str, int]] = []  # in IPA, and the millisecond they begin; "" is a pause
        self.words: list[tuple[int, int]] = []  # where in the text, and the millisecond they begin
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
        self.callback = kind(self._collect)  # kept alive here
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples, count, events) -> int:
        if samples and count:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != self.LAST:
            if events[index].type == self.PHONEME:
                sign = re.sub("[ˈˌː\u0361-]", "", events[index].id.string.decode(errors="ignore"))
                if not sign.startswith("("):  # "(en)": what follows is read as English
                    self.phonemes.append((sign, events[index].audio_position))
            elif events[index].type == self.WORD:
                self.words.append((events[index].text_position - 1, events[index].audio_position))
            index += 1
        return 0

    def set(self, voice: str, **parameters: int) -> None:
        assert self.library.espeak_SetVoiceByName(voice.encode()) == 0, f"espeak-ng has no voice {voice}"
        for name, value in parameters.items():
            self.library.espeak_SetParameter(getattr(self, name), value, 0)

    def say(self, text: str) -> np.ndarray:
        """Samples at RATE in -1..1; `phonemes` and `words` then tell what sounds when."""
        import soxr

        spoken = text.encode() + b"\0"
        self.pieces, self.phonemes, self.words = [], [], []
        self.library.espeak_Synth(spoken, len(spoken), 0, self.BY_CHARACTER, 0, self.UTF8, None, None)
        return soxr.resample(np.concatenate(self.pieces).astype(np.float32) / 32768, self.rate, RATE, "HQ")

    def span(self, place: tuple[int, int] | None) -> tuple[int, int]:
        """The milliseconds in which the words that begin at this place in the text sound; (0, 0) for none."""
        inside = [at for position, at in self.words if place and place[0] <= position < place[1]]
        behind = [at for position, at in self.words if place and position >= place[1]]
        return (min(inside), min(behind, default=self.phonemes[-1][1])) if inside else (0, 0)


# ---- hearing -------------------------------------------------------------------------------------


def mel_filters() -> torch.Tensor:
    """[201, BINS]"""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(1 + WINDOW // 2, BINS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters).float()


def log_mel(samples: np.ndarray, filters: torch.Tensor) -> torch.Tensor:
    """[BINS, frames], as `WhisperFeatureExtractor` gives for the clip in 30 s of silence, cut to the clip's frames."""
    sound = torch.from_numpy(np.concatenate([samples, np.zeros(WINDOW)])).float()
    spectrum = torch.stft(sound, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)
    power = spectrum[:, : -(-len(samples) // HOP)].abs().square()
    logarithm = (filters.T @ power).clamp(min=1e-10).log10()
    return (logarithm.clamp(min=logarithm.max() - DECADES) + 4) / 4


def check_log_mel(samples: np.ndarray, filters: torch.Tensor) -> None:
    from transformers import WhisperFeatureExtractor

    wanted = WhisperFeatureExtractor(feature_size=BINS)(samples, sampling_rate=RATE)["input_features"][0]
    mine = log_mel(samples, filters).numpy()
    assert np.abs(mine - wanted[:, : mine.shape[1]]).max() < 1e-4, "log_mel is not what Whisper hears"


# ---- keeping -------------------------------------------------------------------------------------


@dataclass
class Utterances:
    """Spectrograms as bytes: one spans DECADES / 4 at most, so that a step of a byte is 0.008."""

    mel: list[np.ndarray] = field(default_factory=list)  # [frames, BINS] uint8
    top: list[float] = field(default_factory=list)  # the loudest value
    frames: list[int] = field(default_factory=list)
    scenes: list[tuple] = field(default_factory=list)  # concept, style, colour
    languages: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    phonemes: list[str] = field(default_factory=list)  # "z@11 ɔ@78": what begins at which millisecond
    spans: list[tuple] = field(default_factory=list)  # of concept, colour and style, each from and to, in milliseconds

    def add(self, mel: torch.Tensor, scene: data.Scene, language: str, caption: str, phonemes: list, spans: list) -> None:
        top = mel.max().item()
        steps = (mel - top) * (255 / (DECADES / 4)) + 255
        steps = torch.nn.functional.pad(steps, (0, max(0, SHORTEST - mel.shape[1])))  # 0 is silence
        self.mel.append(steps.round().byte().numpy().T)
        self.top.append(top)
        self.frames.append(steps.shape[1])
        self.scenes.append((scene.concept, scene.style, scene.colour))
        self.languages.append(language)
        self.captions.append(caption)
        self.phonemes.append(" ".join(f"{sign}@{start}" for sign, start in phonemes))
        self.spans.append(tuple(moment for span in spans for moment in span))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **{**vars(self), "mel": np.concatenate(self.mel)})
        temporary.replace(path)

    @classmethod
    def load(cls, paths: list[Path]) -> "Utterances":
        everything = cls()
        for path in paths:
            shard = np.load(path)
            ends = np.cumsum(shard["frames"])
            everything.mel += np.split(shard["mel"], ends[:-1])
            everything.scenes += [data.Scene((concept,), style, colour) for concept, style, colour in shard["scenes"].tolist()]
            for name in ("top", "frames", "languages", "captions", "phonemes", "spans"):
                getattr(everything, name).extend(shard[name].tolist())
        return everything

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(spectrograms [clips, BINS, frames of the longest], frames [clips]), zeros behind each."""
        frames = torch.tensor([self.frames[i] for i in indices])
        mel = torch.zeros(len(indices), BINS, int(frames.max()))
        for row, index in enumerate(indices):
            steps = torch.from_numpy(self.mel[index].T.astype(np.float32))
            mel[row, :, : self.frames[index]] = self.top[index] + (steps - 255) * (DECADES / 4 / 255)
        return mel, frames


def synthesize(speaker, filters, concepts, scenes, variants, phrase, languages, count: int, seed: int) -> Utterances:
    """`count` utterances, `languages` in turn."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    made = Utterances()
    for number in range(count):
        language = languages[number % len(languages)]
        scene = rng.choice(scenes)
        caption = phrase(concepts, scene, language, rng)
        variant = rng.choice(variants)
        usual = rng.random() < 0.3  # espeak-ng's own settings
        speaker.set(
            rng.choice(LANGUAGES[language]) + (f"+{variant}" if variant else ""),
            RATE_PARAMETER=175 if usual else rng.randint(150, 230), PITCH=50 if usual else rng.randint(25, 75),
            RANGE=50 if usual else rng.randint(20, 80), WORD_GAP=0 if usual else rng.choice((0, 0, 0, 2, 5)),
        )  # fmt: skip
        text, places = readings.spoken(caption, language, captions.places(concepts, scene, language, caption))
        sound, late = speaker.say(text), 0
        if rng.random() < 0.5:
            silence = rng.randint(0, RATE // 4)
            sound, late = np.concatenate([np.zeros(silence), sound]), silence * 1000 // RATE
        if rng.random() < 0.33:
            level = np.abs(sound).max() * 10 ** -rng.uniform(1.5, 3.5)
            sound = sound + level * noise.standard_normal(len(sound))
        phonemes = [(sign, start + late) for sign, start in speaker.phonemes]
        spans = [(start + late, end + late) if end else (0, 0) for start, end in map(speaker.span, places)]
        made.add(log_mel(sound.astype(np.float32), filters), scene, language, caption, phonemes, spans)
    return made


def shortest(scenes: list[data.Scene]) -> list[data.Scene]:
    """Those of the default style and colour; of the default style, for concepts that have no other."""
    plain = [scene for scene in scenes if scene.style == captions.DEFAULT_STYLE]
    bare = [scene for scene in plain if scene.colour == captions.DEFAULT_COLOUR]
    said = {scene.concept for scene in bare}
    return bare + [next(scene for scene in plain if scene.concept == other) for other in {s.concept for s in plain} - said]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=15, help="of whole captions, and as many of short ones")
    args = parser.parse_args()
    torch.set_num_threads(1)
    concepts = data.load(args.work)[2]
    scenes = data.all_scenes(len(concepts) - 1)  # without UNKNOWN
    known, held_out = ([scene for scene in scenes if scene.held_out == out] for out in (False, True))
    speaker, filters = Speaker(), mel_filters()
    speaker.set("en-us")
    check_log_mel(speaker.say("a red apple on a blue background"), filters)
    folder = args.work / "speech"
    plan = [
        ("voices", known, HELD_OUT_VARIANTS, captions.scoring_caption, list(LANGUAGES), TEST, 10_001),
        ("scenes", held_out, VARIANTS, captions.scoring_caption, list(LANGUAGES), TEST, 10_002),
    ]
    plan += [(f"train-{n:02}", known, VARIANTS, captions.training_caption, SPOKEN, SHARD, n) for n in range(args.shards)]
    plan += [(f"short-{n:02}", shortest(known), VARIANTS, captions.short_caption, SPOKEN, SHARD, 100 + n) for n in range(args.shards)]
    for name, scenes, variants, phrase, languages, count, seed in plan:
        path = folder / f"{name}.npz"
        if not path.exists():
            made = synthesize(speaker, filters, concepts, scenes, variants, phrase, languages, count, seed)
            made.save(path)
            print(f"{path.name}: {sum(made.frames) / 100 / len(made):.2f} s an utterance", flush=True)


if __name__ == "__main__":
    main()
