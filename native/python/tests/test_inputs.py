"""Pictures, videos and sounds in every form; and forms that are none."""

import io
import wave

import numpy as np
import pytest
import x2i
from goldens import AlignNet, make_model


def same(pipe, *calls):
    """True when all calls give one conditioning."""
    first, *others = [pipe.encode(**call) for call in calls]
    return all(np.array_equal(a, b) for other in others for a, b in zip(first, other))


def test_a_picture_is_the_same_in_every_form(pipe, picture, tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "in.png"
    image.fromarray(picture).save(path)
    forms = [path, str(path), path.as_uri(), path.read_bytes(), bytearray(path.read_bytes()), image.open(path)]
    forms += [picture, picture / 255, (picture / 255).astype(np.float32), np.asfortranarray(picture)]
    assert same(pipe, *({"prompt": "x", "images": [form]} for form in forms), {"prompt": "x", "images": path})
    assert not same(pipe, {"prompt": "x", "images": [picture]}, {"prompt": "x", "images": [picture[::-1]]})
    several = np.stack([picture, picture[::-1]])
    assert same(pipe, {"images": several}, {"images": [picture, picture[::-1]]})
    gray = picture[:, :, 0]
    assert same(pipe, {"images": gray}, {"images": gray[:, :, None]}, {"images": np.stack([gray] * 3, axis=-1)})
    result = pipe("a cat", seed=1)
    assert same(pipe, {"images": result.images}, {"images": result.arrays})


def test_transparency_is_white_or_what_is_asked_for(pipe, picture, tmp_path):
    image = pytest.importorskip("PIL.Image")
    alpha = np.dstack([picture, np.full(picture.shape[:2], 100, np.uint8)])
    image.fromarray(alpha).save(tmp_path / "in.png")
    forms = [tmp_path / "in.png", image.fromarray(alpha), alpha, (tmp_path / "in.png").read_bytes()]
    for background in (None, "black", "3366cc", "dropped"):
        assert same(pipe, *({"images": [form], "background": background} for form in forms))
    assert same(pipe, {"images": [alpha], "background": "dropped"}, {"images": [picture]})
    assert not same(pipe, {"images": [alpha]}, {"images": [alpha], "background": "black"})
    with pytest.raises(x2i.InputError, match="background: expected white, black or six digits in hex"):
        pipe.encode("x", background="blue")


def test_a_pil_picture_stands_upright(pipe, picture, tmp_path):
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.fromarray(picture).save(tmp_path / "in.png", exif=exif)
    assert same(pipe, {"images": tmp_path / "in.png"}, {"images": image.open(tmp_path / "in.png")})


def test_a_video_is_the_same_in_every_form(pipe, picture, tmp_path):
    image = pytest.importorskip("PIL.Image")
    frames = np.stack([np.roll(picture, shift, axis=1) for shift in range(0, 40, 4)])
    pictures = [image.fromarray(frame) for frame in frames]
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(pictures):
        frame.save(folder / f"{index:03}.png")
    forms = [(frames, 4.0), (frames / 255, 4), (list(frames), 4), (pictures, 4)]
    assert same(pipe, *({"prompt": "x", "video": form} for form in forms), {"prompt": "x", "video": [(frames, 4)]})
    # A folder's rate is `video_fps`: all of its frames are read.
    assert same(pipe, {"video": folder, "video_fps": 2.0}, {"video": (frames, 2.0), "video_fps": 2.0})
    assert not same(pipe, {"video": (frames, 2.0)}, {"video": (frames[::-1], 2.0)})
    gif = tmp_path / "a.gif"
    pictures[0].save(gif, save_all=True, append_images=pictures[1:], duration=250)
    assert same(pipe, {"video": gif}, {"video": gif.read_bytes()})


def test_a_sound_is_the_same_in_every_form(pipe, tmp_path):
    rate = 22_050
    samples = (np.sin(np.arange(rate) * 0.1) * 20_000).astype(np.int16)
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    floats = samples / 32768
    stereo = np.stack([floats, floats])
    forms = [tmp_path / "in.wav", (tmp_path / "in.wav").read_bytes(), (samples, rate), (floats, rate)]
    forms += [(floats.astype(np.float32), rate), (stereo, rate), (stereo.T, rate), (floats.tolist(), rate)]
    assert same(pipe, *({"prompt": "x", "audio": form} for form in forms), {"prompt": "x", "audio": [forms[0]]})
    other = (np.sin(np.arange(rate) * 0.3), rate)
    assert not same(pipe, {"prompt": "x", "audio": forms[0]}, {"prompt": "x", "audio": other})


def test_parts_are_read_in_their_order(pipe, picture):
    other = picture[::-1]
    assert same(pipe, {"prompt": "x", "images": [picture]}, {"parts": [{"image": picture}, {"text": "x"}]})
    assert not same(pipe, {"prompt": "x", "images": [picture]}, {"parts": ["x", {"image": picture}]})
    ordered = {"parts": [{"image": picture}, {"image": other}, "x"]}
    assert same(pipe, {"prompt": "x", "images": [picture, other]}, ordered)


def test_turns_reach_the_encoder(tmp_path, picture):
    model = make_model(tmp_path, "minicpm_o_tiny", AlignNet(3, 256, 1))
    with x2i.Pipeline.from_pretrained(model, device="cpu") as pipe:
        turns = [{"prompt": "what is it", "images": [picture], "answer": "a picture"}]
        spoken = pipe.encode("paint it", turns=turns).txt
        assert spoken.shape[1] > pipe.encode("paint it").txt.shape[1] + 30
        again = pipe.encode("paint it", turns=[{"parts": [{"image": picture}, "what is it"], "answer": "a picture"}]).txt
        assert np.array_equal(spoken, again)


REFUSED = [
    ({"prompt": ""}, x2i.InputError, "prompt: is empty; say what to paint"),
    ({"prompt": ["a", "b"]}, TypeError, "prompt: a value of type list is no text"),
    ({"steps": 0}, x2i.InputError, "steps: 0 must be between 1 and 1000"),
    ({"steps": 2.5}, x2i.InputError, "steps: 2.5 is no whole number"),
    ({"steps": -1}, x2i.InputError, "steps: -1 is not between 0 and 4294967295"),
    ({"seed": -2}, x2i.InputError, "seed: -2 is not between 0 and 18446744073709551615"),
    ({"width": 100}, x2i.InputError, "width: 100 must be a multiple of 16"),
    ({"height": 8}, x2i.InputError, "height: 8 must be a multiple of 16"),
    ({"guidance": float("nan")}, x2i.InputError, "guidance: NaN must be a number of at least 0"),
    ({"cache": -1.0}, x2i.InputError, "cache: -1 must be a number of at least 0"),
    ({"conditioning": "both"}, x2i.InputError, "conditioning: 'both' is none of prompt and answer"),
    ({"strength": 0.5}, x2i.InputError, "strength: needs an initial image; give it with init"),
    ({"control_scale": 0.5}, x2i.InputError, "control_scale: needs a control image; give it with control"),
    ({"init": np.zeros((8, 8, 3), np.uint8), "strength": 2.0}, x2i.InputError, "strength: 2 must be above 0"),
    (
        {"control": np.zeros((8, 8, 3), np.uint8)},
        x2i.InputError,
        "control: needs LightControl's weights; give them to from_pretrained with control_weights",
    ),
    (
        {"control": np.zeros((8, 8, 3), np.uint8), "control_hint": "depth"},
        x2i.InputError,
        "control_hint: is source, edges or gray",
    ),
    ({"num_images": 0}, x2i.InputError, "num_images: 0 must be a whole number of at least 1"),
    ({"video_fps": 0.0}, x2i.InputError, "video_fps: 0 must be above 0 and at most 1000"),
    ({"images": ["missing.png"]}, x2i.InputError, "images: missing.png: file not found"),
    ({"images": [b"not a picture"]}, x2i.InputError, "images: bytes: is "),
    ({"images": [3]}, TypeError, "images: a value of type int is no picture; give a path, bytes"),
    ({"images": [np.zeros((3, 8, 8), np.uint8)]}, x2i.InputError, "move its channels to the end"),
    ({"images": [np.zeros((8, 8, 3), np.int32)]}, x2i.InputError, "pixels are uint8, or floats from 0 to 1, not int32"),
    ({"images": [np.full((8, 8, 3), 255.0)]}, x2i.InputError, "floats of a picture are from 0 to 1; divide by 255"),
    ({"images": [np.full((8, 8, 3), np.nan)]}, x2i.InputError, "has values that are no numbers"),
    ({"images": [np.zeros((0, 8, 3), np.uint8)]}, x2i.InputError, "images: image: 8x0 has no pixels"),
    ({"video": np.zeros((2, 8, 8, 3), np.uint8)}, TypeError, "give a path, bytes, or .frames, frames per second."),
    ({"video": (np.zeros((8, 8, 3), np.uint8), 2.0)}, x2i.InputError, "video: frames of shape .8, 8, 3. are not"),
    ({"video": (np.zeros((2, 8, 8, 3), np.uint8), 0.0)}, x2i.InputError, "video: video: has 0 frames a second"),
    ({"video": (np.zeros((0, 8, 8, 3), np.uint8), 1.0)}, x2i.InputError, "video: video: has no frames"),
    ({"video": ([], 1.0)}, x2i.InputError, "video: has no frames"),
    ({"audio": np.zeros(9)}, TypeError, "give a path, bytes, or .samples, samples per second."),
    ({"audio": (np.zeros(9), 10)}, x2i.InputError, "audio: audio: has 10 samples a second; between 1000"),
    ({"audio": (np.zeros(0), 16_000)}, x2i.InputError, "audio: audio: has no samples"),
    ({"audio": (np.full(99, np.nan), 16_000)}, x2i.InputError, "audio: audio: has samples that are no numbers"),
    ({"audio": (np.zeros((2, 2, 2)), 16_000)}, x2i.InputError, "audio: samples of shape .2, 2, 2. are not"),
    ({"parts": ["x"]}, TypeError, "parts can't be given with prompt, images, video or audio"),
    ({"prompt": "", "parts": [3]}, TypeError, "parts: a value of type int is no part; give text, or"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_a_wrong_input_is_one_sentence_that_names_its_argument(pipe, arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        pipe(**{"prompt": "a cat", **arguments})
    assert "\n" not in str(raised.value)
    if error is x2i.InputError:
        assert isinstance(raised.value, ValueError) and isinstance(raised.value, x2i.Error)
        assert raised.value.argument in {*arguments, "images"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "missing"}, "model: there is no folder missing"),
        ({"model": "emoji", "device": "tpu"}, "device: expected auto, cpu, wgpu"),
        ({"model": "emoji", "device": "wgpu:4242"}, "device wgpu:4242: is not there; this machine has cpu"),
        ({"model": "emoji", "precision": "f64"}, "precision: expected auto, f32, f16 or bf16"),
        ({"model": "emoji", "memory": "some"}, "memory: `some` is none of auto, low and high"),
        ({"model": "emoji", "max_device_memory": "much"}, "max_device_memory: expected a size"),
        ({"model": "emoji", "max_device_memory": 0}, "max_device_memory: expected a size"),
        ({"model": "emoji", "loras": ["missing.safetensors"]}, "loras: missing.safetensors: file not found"),
        ({"model": "emoji", "control_weights": "missing.safetensors"}, "control_weights: missing.safetensors: file not"),
    ],
)
def test_a_model_that_cant_be_loaded_is_one_sentence(arguments, message):
    with pytest.raises(x2i.Error, match=message):
        x2i.Pipeline.from_pretrained(**{"device": "cpu", **arguments})


def test_errors_are_pickled_with_their_argument(pipe):
    import pickle

    with pytest.raises(x2i.InputError) as raised:
        pipe("a cat", steps=0)
    again = pickle.loads(pickle.dumps(raised.value))
    assert str(again) == str(raised.value) and again.argument == "steps"


def test_bytes_of_any_kind_are_held(pipe, picture):
    image = pytest.importorskip("PIL.Image")
    held = io.BytesIO()
    image.fromarray(picture).save(held, "JPEG")
    assert same(pipe, {"images": held.getvalue()}, {"images": held.getbuffer()})
