"""The nodes with a server in place of the package: `x2i serve`, as the package brings it."""

import subprocess
import sys
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import x2i
from test_nodes import images, pipe, run  # noqa: F401


@pytest.fixture(scope="module")
def server():
    program = Path(sys.executable).parent / "x2i"
    if "serve" not in subprocess.run([program, "--help"], capture_output=True, text=True).stdout:
        pytest.skip("this x2i was built without its server")
    command = [program, "serve", "--port", "0", "--device", "cpu", "--log", "warn"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().split()[-1]
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture
def remote(nodes, server, monkeypatch):
    """X2I Model of the server; the package is not there."""
    monkeypatch.setitem(sys.modules, "x2i", None)
    return run(nodes["X2IModel"], model="emoji", device="auto", server=server + "/")[0]


def test_encode_gives_the_servers_conditioning(nodes, remote, pipe, images):  # noqa: F811
    import torch

    frames = np.asarray(images)
    clip = SimpleNamespace(get_components=lambda: SimpleNamespace(images=images, frame_rate=Fraction(2)))
    wave = np.sin(np.arange(8000) * 0.3).astype(np.float32)
    sound = {"waveform": torch.from_numpy(wave[None, None]), "sample_rate": 16_000}
    cases = [
        ({}, {}),
        ({"image": images}, {"images": list(frames)}),
        ({"video": clip}, {"video": (frames, 2.0)}),
        ({"audio": sound}, {"audio": (wave, 16_000)}),
        ({"conditioning": "prompt"}, {"conditioning": "prompt"}),
    ]
    for inputs, call in cases:
        (((txt, states),), answer) = run(nodes["X2IEncode"], model=remote, text="a red apple", seed=3, **inputs)
        expected = pipe.encode("a red apple", seed=3, **call)
        assert np.array_equal(txt, expected.txt) and np.array_equal(states["pooled_output"], expected.vec)
        assert answer == (expected.answer or "")


def test_generate_paints_the_servers_pictures(nodes, remote, pipe, images):  # noqa: F811
    from comfy.utils import ProgressBar

    ProgressBar.told.clear()
    settings = {"width": 48, "height": 32, "steps": 3}
    first = images[:1]
    pictures, answer, seed = run(
        nodes["X2IGenerate"], model=remote, text="a cat", seed=2**64 - 2, num_images=2, init=first, strength=0.7, **settings
    )
    expected = pipe("a cat", seed=2**64 - 2, num_images=2, init=np.asarray(first[0]), strength=0.7, **settings)
    assert np.array_equal(np.rint(pictures * 255), np.stack(expected.arrays))
    assert (answer, seed) == (expected.answer, 2**64 - 2)
    told = list(ProgressBar.told)
    assert told and all(0 <= value <= total for value, total, _ in told)
    assert any(preview is not None for *_, preview in told)


def test_turns_and_loras_are_sent(nodes, remote, images, tmp_path):  # noqa: F811
    (turns,) = run(nodes["X2ITurn"], text="what is it", image=images, answer="two pictures")
    run(nodes["X2IEncode"], model=remote, text="paint it", turns=turns)
    (tmp_path / "style.safetensors").write_bytes(b"the server has its own")
    with pytest.raises(ValueError, match="style"):
        run(nodes["X2IGenerate"], model=remote.with_lora(str(tmp_path / "style.safetensors"), 1.0), text="x", seed=1)


def test_an_interruption_cancels_the_job(nodes, remote, server, monkeypatch):
    import json
    import urllib.request

    import comfy.model_management as management

    asked = []

    def interrupt_later():
        asked.append(1)
        if len(asked) == 5:
            raise management.InterruptProcessingException

    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", interrupt_later)
    with pytest.raises(management.InterruptProcessingException):
        run(nodes["X2IGenerate"], model=remote, text="x", seed=1, steps=1000, width=512, height=512)
    with urllib.request.urlopen(f"{server}/v1/x2i/jobs?limit=1") as answer:
        (job,) = json.loads(answer.read())["jobs"]
    assert job["status"] in ("canceling", "canceled")


def test_what_a_server_refuses_is_its_own_sentence(nodes, remote, server):
    for inputs, sentence in (
        ({"width": 40}, "width: 40 must be a multiple of 16 between 16 and 8192"),
        ({"text": ""}, "prompt: is empty; say what to paint"),
    ):
        with pytest.raises(ValueError) as raised:
            run(nodes["X2IGenerate"], **{"model": remote, "text": "x", "seed": 1, **inputs})
        assert str(raised.value) == sentence
    (other,) = run(nodes["X2IModel"], model="emoji", device="auto", server=f"{server}#large")
    with pytest.raises(ValueError, match="^model: the server has no model large; it has emoji$"):
        run(nodes["X2IEncode"], model=other, text="x")


class Stranger(BaseHTTPRequestHandler):
    """A web server that is none of ours, or dies while a job runs."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_):
        pass


def test_a_server_that_is_dead_or_another_is_one_sentence(nodes):
    web = HTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    for address, sentence in (
        ("http://127.0.0.1:9", "^server: http://127.0.0.1:9 does not answer: .*refused$"),
        ("gpu:7860", "^server: gpu:7860 is no address; give one such as http://gpu:7860$"),
        (f"http://127.0.0.1:{web.server_port}", "^server: it answers 404; is it `x2i serve`?"),
    ):
        (model,) = run(nodes["X2IModel"], model="emoji", device="auto", server=address)
        for node, inputs in (("X2IEncode", {}), ("X2IGenerate", {"seed": 1})):
            with pytest.raises(ValueError, match=sentence):
                run(nodes[node], model=model, text="x", **inputs)
    web.shutdown()


def test_a_server_that_dies_in_mid_job_is_one_sentence(nodes, tmp_path):
    program = Path(sys.executable).parent / "x2i"
    if "serve" not in subprocess.run([program, "--help"], capture_output=True, text=True).stdout:
        pytest.skip("this x2i was built without its server")
    process = subprocess.Popen([program, "serve", "--port", "0", "--device", "cpu", "--log", "warn"], stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[-1]
    threading.Timer(1.5, process.kill).start()
    (model,) = run(nodes["X2IModel"], model="emoji", device="auto", server=address)
    with pytest.raises(ValueError, match=f"^server: {address}"):
        run(nodes["X2IGenerate"], model=model, text="x", seed=1, steps=1000, width=512, height=512)
    process.wait()
