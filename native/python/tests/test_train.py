"""Training from Python."""

import json

import numpy as np
import pytest
import x2i


def samples(folder, count=4):
    image = pytest.importorskip("PIL.Image")
    folder.mkdir()
    random = np.random.default_rng(3)
    for index in range(count):
        image.fromarray(random.integers(0, 255, (64, 64, 3), np.uint8)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"picture {index}")
    return folder


def settings(tmp_path, **others):
    data = samples(tmp_path / "data")
    return {"model": "emoji", "data": [str(data)], "out": str(tmp_path / "run"), "device": "cpu", "rank": 2, **others}


def test_a_lora_is_trained_and_used(tmp_path, pipe):
    events = []
    config = settings(tmp_path, updates=2, warmup=0, batch=1)
    assert x2i.train("lora", config, events.append, seed=1) is True
    assert [event["type"] for event in events if event["type"] != "warning"][0] == "begun"
    updates = [event for event in events if event["type"] == "update" and "loss" in event]
    assert [event["update"] for event in updates] == [1, 2] and all(event["loss"] > 0 for event in updates)
    (weights,) = (tmp_path / "run").glob("*.safetensors")
    with x2i.Pipeline.from_pretrained("emoji", device="cpu", loras=[(weights, 50.0)]) as other:
        changed = other("a cat", seed=1)
    assert not np.array_equal(changed.arrays[0], pipe("a cat", seed=1).arrays[0])
    assert changed.metadata[0]["loras"][0]["scale"] == 50.0


def test_false_from_the_callback_ends_a_run_that_goes_on_later(tmp_path):
    config = settings(tmp_path, updates=3, warmup=0, batch=1)
    stop = lambda event: event["type"] != "update"
    assert x2i.train("lora", config, stop) is False
    events = []
    assert x2i.train("lora", config, events.append) is True
    begun = next(event for event in events if event["type"] == "begun")
    assert begun["updates"] == 1


def test_an_exception_of_the_callback_comes_out(tmp_path):
    with pytest.raises(ZeroDivisionError):
        x2i.train("lora", settings(tmp_path, updates=3, warmup=0, batch=1), lambda event: 1 / 0)


def test_a_file_of_settings_is_read_and_replaced(tmp_path):
    config = settings(tmp_path, updates=1, warmup=0, batch=1)
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in config.items())
    (tmp_path / "lora.toml").write_text(text)
    events = []
    assert x2i.train("lora", tmp_path / "lora.toml", events.append, learning_rate=1e-3, updates=2) is True
    updates = [event["update"] for event in events if event["type"] == "update"]
    assert max(updates) == 2


@pytest.mark.parametrize(
    ("what", "config", "message"),
    [
        ("style", {}, "what: `style` is none of align, control and lora"),
        ("lora", {"updatse": 3}, "settings: `updatse`"),
        ("lora", {"teacher": "x"}, "`teacher` is a key of `align`"),
        ("lora", {"updates": "many"}, "`updates` is"),
        ("lora", {"updates": float("nan")}, "config: "),
        ("lora", "missing.toml", "config: missing.toml: "),
    ],
)
def test_settings_that_are_wrong_are_one_sentence(what, config, message):
    with pytest.raises(x2i.Error, match=message):
        x2i.train(what, config)
