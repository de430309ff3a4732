"""Pictures: those of the program, seeds, names of arguments, results."""

import json
import subprocess
import sys

import numpy as np
import pytest
import x2i


def pixels(png):
    return np.asarray(pytest.importorskip("PIL.Image").open(png).convert("RGB"))


def generate(program, out, *arguments):
    subprocess.run([program, "generate", *arguments, "--device", "cpu", "-q", "-o", out], check=True)


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_a_picture_is_that_of_the_program(pipe, program, tmp_path, seed):
    generate(program, tmp_path / "out.png", "a red apple", "--seed", str(seed))
    result = pipe("a red apple", seed=seed)
    assert np.array_equal(result.arrays[0], pixels(tmp_path / "out.png"))
    result.save(tmp_path / "ours.png")
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def test_all_arguments_mean_what_the_flags_mean(pipe, program, tmp_path, picture):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(picture).save(tmp_path / "in.png")
    given = ["--image", tmp_path / "in.png", "what is it", "--init", tmp_path / "in.png", "--strength", "0.8"]
    given += ["--size", "80x48", "--steps", "6", "--no-answer", "--seed", "3", "--cache", "0.1"]
    generate(program, tmp_path / "out.png", *given)
    settings = {"width": 80, "height": 48, "steps": 6, "conditioning": "prompt", "seed": 3, "cache": 0.1}
    for shown in (tmp_path / "in.png", image.open(tmp_path / "in.png"), picture, (tmp_path / "in.png").read_bytes()):
        result = pipe("what is it", images=[shown], init=shown, strength=0.8, **settings)
        assert result.images[0].size == (80, 48)
        assert np.array_equal(result.arrays[0], pixels(tmp_path / "out.png"))


def test_several_pictures_have_the_seeds_after_the_first(pipe):
    result = pipe("a cat", seed=5, num_images=3)
    assert result.seeds == [5, 6, 7] and len(result) == 3
    assert np.array_equal(result.arrays[2], pipe("a cat", seed=7).arrays[0])
    assert pipe("a cat", seed=2**64 - 1, num_images=2).seeds == [2**64 - 1, 0]
    assert pipe("a cat").seeds != pipe("a cat", seed=-1).seeds


def test_diffusers_names_are_aliases(pipe, picture):
    class Generator:
        def initial_seed(self):
            return 9

    ours = pipe("a cat", images=[picture], steps=2, guidance=1.0, num_images=2, seed=9)
    theirs = pipe(
        "a cat",
        image=picture,
        num_inference_steps=2,
        guidance_scale=1.0,
        num_images_per_prompt=2,
        generator=Generator(),
    )
    assert ours.seeds == theirs.seeds == [9, 10]
    assert np.array_equal(ours.arrays, theirs.arrays)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": 2, "num_inference_steps": 2},
        {"guidance": 1.0, "guidance_scale": 1.0},
        {"num_images": 1, "num_images_per_prompt": 1},
        {"seed": 1, "generator": type("G", (), {"initial_seed": lambda self: 1})()},
        {"images": [b""], "image": b""},
        {"callback": print, "callback_on_step_end": print},
    ],
)
def test_an_argument_by_both_of_its_names_is_refused(pipe, arguments):
    ours, theirs = arguments
    with pytest.raises(TypeError, match=f"^{theirs} is diffusers' name of {ours}; give one of them$"):
        pipe("a cat", **arguments)


def test_steps_end_as_diffusers_tells_it(pipe):
    told = []
    pipe("a cat", steps=3, num_images=2, callback_on_step_end=lambda *arguments: told.append(arguments) or {})
    assert told == [(pipe, step, None, {}) for step in [0, 1, 2] * 2]


def test_a_result_holds_the_record_of_its_making(pipe, program, tmp_path):
    result = pipe("a red apple", seed=7)
    record = result.metadata[0]
    assert record["seed"] == 7 and record["prompt"] == [{"text": "a red apple"}]
    assert record["answer"] == result.answer and "apple" in result.answer
    assert (result.certainty or 0) > 0.8 and result.unknown is None and result.alternatives == []
    assert result.prompt_tokens[0] > 0 and result.prompt_tokens[1] == 0
    result.save(tmp_path / "apple.png")
    generate(program, tmp_path / "again.png", "--from", tmp_path / "apple.png")
    assert np.array_equal(pixels(tmp_path / "again.png"), result.arrays[0])
    json.dumps(result.metadata)


def test_files_are_png_jpeg_and_webp(pipe, tmp_path):
    result = pipe("a red apple", seed=7)
    assert result.png().startswith(b"\x89PNG") and result.file("jpeg").startswith(b"\xff\xd8")
    assert result.file("webp")[8:12] == b"WEBP"
    assert len(result.file("jpeg", quality=5)) < len(result.file("jpeg", quality=95))
    result.save(tmp_path / "a.webp")
    assert (tmp_path / "a.webp").read_bytes() == result.file("webp")
    with pytest.raises(x2i.InputError, match="quality: 0 is not between 1 and 100"):
        result.file("jpeg", quality=0)
    with pytest.raises(x2i.Error, match="missing/a.png"):
        result.save(tmp_path / "missing/a.png")


def test_arrays_share_the_pictures_memory(pipe):
    result = pipe("a red apple", seed=7)
    array = result.arrays[0]
    assert array.shape == (64, 64, 3) and array.dtype == np.uint8 and not array.flags.owndata
    array[:] = 0  # they may be written to, and the picture stays
    assert result.png() == pipe("a red apple", seed=7).png()
    txt, vec = pipe.encode("a red apple")
    assert not txt.flags.owndata and txt.flags.writeable and txt.dtype == vec.dtype == np.float32
    assert txt.shape[0] == 1 and txt.shape[2] == 256 and vec.shape == (1, 128)


def test_pillow_is_optional():
    code = """if True:
        import sys
        sys.modules["PIL"] = None
        import x2i
        image = x2i.Pipeline.from_pretrained("emoji", device="cpu")("a cat", seed=1).images[0]
        assert type(image) is x2i.Image and image.size == (64, 64), image
        assert image.numpy().shape == (64, 64, 3) and len(image.tobytes()) == 64 * 64 * 3
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pil_without_pillow_says_what_to_install(pipe, monkeypatch):
    heard = []
    pipe("a cat", seed=1, preview=True, callback=heard.append)
    preview = next(progress.preview for progress in heard if progress.preview is not None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    with pytest.raises(ImportError, match="pil\\(\\) needs Pillow: pip install pillow"):
        preview.pil()


def test_turns_are_read_before_the_prompt(pipe):
    # The embedded model reads no earlier turns; that they are read is tested on the tiny encoders.
    with pytest.raises(TypeError, match='turns: a value of type int is no turn; give {"prompt": ..., "answer": ...}'):
        pipe("a cat", turns=[3])
    with pytest.raises(TypeError, match="turns: `text` is none of"):
        pipe("a cat", turns=[{"text": "x", "answer": "y"}])
    result = pipe("a cat", turns=[{"prompt": "a dog", "answer": "a dog"}], seed=1)
    assert np.array_equal(result.arrays[0], pipe("a cat", seed=1).arrays[0])


def test_a_model_tells_what_it_is(pipe):
    assert pipe.name == "emoji" and pipe.sees and pipe.hears
    assert pipe.defaults == (64, 64, 4, 0.0, "answer") and pipe.defaults.steps == 4
    assert pipe.device.id == "cpu" and x2i.devices()[0] == pipe.device
    assert repr(pipe) == "<x2i.Pipeline emoji on cpu>"


def test_previews_and_progress(pipe):
    events = []
    pipe("a cat", steps=3, preview=True, callback=events.append)
    assert {event.phase for event in events} == {"encode", "denoise", "decode"}
    previews = [event.preview for event in events if event.preview is not None]
    assert len(previews) == 3 and previews[0].numpy().ndim == 3
    assert [event.answer for event in events if event.answer] == [pipe("a cat").answer]
    steps = [event.step for event in events if event.phase == "denoise"]
    assert steps == sorted(steps) and steps[-1] == 3
    loading = []
    x2i.Pipeline.from_pretrained("emoji", device="cpu", callback=loading.append)
    assert {event.phase for event in loading} == {"load"} and loading[-1].done == loading[-1].total
