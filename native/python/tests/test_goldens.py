"""`pipe.encode` beside the reference, for every tiny encoder."""

import json

import numpy as np
import pytest
import x2i
from goldens import GOLDENS, AlignNet, make_model, read_safetensors

# Of what AlignNet makes of hidden states that differ by the goldens' own tolerances (5e-5 to 2e-4 of states near 1).
TOLERANCE = 1e-3


def case(golden):
    return json.loads((GOLDENS / golden / "case.json").read_text())


def padding(length, side):
    return {"max_length": length, "side": side}


def file(golden, name):
    return GOLDENS / golden / name


def qwen():
    golden = "qwen2_5_vl_tiny"
    about = case(golden)
    size, text, seen = about["script_image_size"], about["text_max_length"], about["max_length"]
    words = {"prompt": about["prompt"]}
    image = {"prompt": about["image_prompt"], "images": [file(golden, "img_a.png")]}
    images = {"prompt": about["image_prompt"], "images": [file(golden, name) for name in ("img_a.png", "img_b.png")]}
    pixels = lambda name: pytest.importorskip("PIL.Image").open(file(golden, name))
    frames = {"prompt": about["video_prompt"], "video": (tuple, [f"frame_{index}.png" for index in range(4)], pixels)}
    for name, call, defaults in (
        ("text_right", words, {"padding": padding(text, "right")}),
        ("text_left", words, {"padding": padding(text, "left")}),
        ("text_trunc", words, {"padding": padding(40, "right")}),
        ("text_nopad", words, {}),
        ("image1", image, {"padding": padding(seen, "right"), "input_image_size": size}),
        ("image1_left", image, {"padding": padding(seen, "left"), "input_image_size": size}),
        ("image2", images, {"padding": padding(seen, "right"), "input_image_size": size}),
        ("video", frames, {"padding": padding(seen, "right")}),
    ):
        yield golden, name, call, defaults


def internvl():
    golden = "internvl2_5_tiny"
    about = case(golden)
    right = {"prompt_format": "internvl"}
    yield golden, "text", {"prompt": about["text"]}, {**right, "padding": "states"}
    picture = {"images": [file(golden, "img_a.png")]}
    yield golden, "image_script", picture, {**right, "padding": "states", "input_image_size": [128, 128]}


def minicpm():
    golden = "minicpm_o_tiny"
    words = case(golden)["text"]
    a, b = file(golden, "img_a.png"), file(golden, "img_b.png")
    long, short = file(golden, "audio_3s.wav"), file(golden, "audio_1.3s.wav")
    yield golden, "text", {"prompt": words}, {}
    yield golden, "image", {"images": [a]}, {}
    yield golden, "image2", {"images": [a, b], "prompt": words}, {}
    yield golden, "audio", {"audio": long}, {}
    yield golden, "audio2", {"audio": [long, short]}, {}
    yield golden, "omni", {"parts": [{"image": a}, {"audio": short}, words]}, {}


CASES = [*qwen(), *internvl(), *minicpm()]


@pytest.mark.parametrize(("golden", "name", "call", "defaults"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_encode_matches_the_reference(tmp_path, golden, name, call, defaults):
    tensors = read_safetensors(GOLDENS / golden / "golden.safetensors")
    states, last = [tensors.get(f"out.{name}.{kind}") for kind in ("hidden_states", "hidden_states_last")]
    states = tensors.get(f"out.{name}.hidden_states_in", states)
    if states is None:
        layers = tensors["out.image.hidden_states"].shape[1]
        states = np.repeat(last[:, None], layers, axis=1)
    align_net = AlignNet(states.shape[1], states.shape[3], 7, only_last=last is not None)
    if defaults.get("padding") == "states":
        defaults = {**defaults, "padding": padding(states.shape[2], padding_side(tensors, name))}
    answered = tensors.get(f"out.{name}.hidden_states_answer")
    if "video" in call:
        _, names, pixels = call["video"]
        call = {**call, "video": (np.stack([np.asarray(pixels(name).convert("RGB")) for name in names]), 2.0)}
    model = make_model(tmp_path, golden, align_net, **defaults)
    with x2i.Pipeline.from_pretrained(model, device="cpu") as pipe:
        close(pipe.encode(**call), align_net(states))
        if answered is not None and answered.shape[2] == 7:
            encoded = pipe.encode(**call, conditioning="answer")
            assert isinstance(encoded.answer, str)
            close(encoded, align_net(answered[:, :, : answer_length(tensors, golden, name)]))


def answer_length(tensors, golden, name):
    """The states of an answer up to the turn's end; the reference goes on after it."""
    ends = json.loads((GOLDENS / golden / "added_tokens.json").read_text())["<|im_end|>"]
    fed = tensors[f"out.{name}.generated_ids"].reshape(-1)[:-1].tolist()
    return fed.index(ends) if ends in fed else len(fed)


def padding_side(tensors, name):
    mask = tensors[f"out.{name}.attention_mask"].reshape(-1)
    return "left" if mask[0] == 0 else "right"


def close(encoded, expected):
    txt, vec = encoded
    assert txt.shape == expected[0].shape and vec.shape == expected[1].shape
    assert np.abs(txt - expected[0]).max() < TOLERANCE
    assert np.abs(vec - expected[1]).max() < TOLERANCE
