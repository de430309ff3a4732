"""Drives a real ComfyUI: queues every workflow over its API and compares the pictures with those of the package.

    python comfyui.py CHECKOUT BASE     run by scripts/test-comfyui with ComfyUI's Python
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import numpy as np
import x2i
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from workflows import PUBLISHED, SEED, TEXT, WORKFLOWS, replaced  # noqa: E402

# Grey levels of ComfyUI's own sampler: it computes the same in another order of sums, and SaveImage cuts fractions off.
SAMPLED = 1


def replacements():
    spec = importlib.util.spec_from_file_location("replacements", HERE.parent / "nodes/replacements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.REPLACEMENTS


class Comfy:
    """A running ComfyUI."""

    def __init__(self, checkout, base, python):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        command = [python, "main.py", "--cpu", "--disable-api-nodes", "--base-directory", base, "--port", str(port)]
        command += ["--database-url", "sqlite:///:memory:", "--preview-method", "auto"]
        self.log = open(Path(base) / "comfyui.log", "wb")
        self.process = subprocess.Popen(command, cwd=checkout, stdout=self.log, stderr=subprocess.STDOUT)
        self.base = Path(base)
        for _ in range(240):
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                assert self.process.poll() is None, (self.base / "comfyui.log").read_text()[-3000:]
                time.sleep(0.5)
        raise TimeoutError("ComfyUI does not answer")

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.loads(answer.read())

    def post(self, path, value):
        request = urllib.request.Request(self.url + path, json.dumps(value).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def queue(self, graph, client="test"):
        status, answer = self.post("/prompt", {"prompt": graph, "client_id": client})
        assert status == 200, answer
        return answer["prompt_id"]

    def wait(self, prompt, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.get(f"/history/{prompt}").get(prompt)
            if found and (found["status"]["completed"] or found["status"]["status_str"] == "error"):
                return found
            assert self.process.poll() is None, "ComfyUI ended"
            time.sleep(0.05)
        raise TimeoutError(prompt)

    def pictures(self, graph):
        """The saved pictures, and the seconds that they took."""
        begun = time.monotonic()
        found = self.wait(self.queue(graph))
        assert found["status"]["status_str"] == "success", error_of(found)
        taken = time.monotonic() - begun
        names = [entry for output in found["outputs"].values() for entry in output.get("images", [])]
        paths = [self.base / entry["type"] / entry["subfolder"] / entry["filename"] for entry in names]
        return [np.asarray(Image.open(path).convert("RGB")) for path in paths], taken

    def close(self):
        self.process.terminate()
        self.process.wait(20)


def error_of(found):
    for kind, about in found["status"]["messages"]:
        if kind == "execution_error":
            return about["exception_message"].strip()
        if kind == "execution_interrupted":
            return "interrupted"
    return found["status"]


def make_inputs(base):
    """Pictures, a video, a sound, a LoRA and LightControl's weights, all of them made here."""
    import av

    folder = base / "input"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    for name, size in (("a.png", (64, 64)), ("b.png", (64, 64)), ("tall.png", (96, 48))):
        small = Image.fromarray(random.integers(0, 255, (4, 4, 3), np.uint8))
        small.resize((size[1], size[0]), Image.BICUBIC).save(folder / name)
    with av.open(str(folder / "clip.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        first = np.asarray(Image.open(folder / "a.png"))
        for shift in range(8):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.roll(first, 8 * shift, axis=1), format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    import wave

    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.sin(np.arange(16_000) * 0.3) * 9000).astype(np.int16).tobytes())
    train(base)


def train(base):
    """Two updates are enough for weights that change a picture."""
    data = base / "data"
    data.mkdir(exist_ok=True)
    for index, name in enumerate(("a.png", "b.png")):
        Image.open(base / "input" / name).save(data / f"{index}.png")
        (data / f"{index}.txt").write_text(f"picture {index}")
    common = {"model": "emoji", "data": [str(data)], "device": "cpu", "updates": 2, "warmup": 0, "batch": 1}
    for what, kind, name, pattern in (
        ("lora", "loras", "style", "*.safetensors"),
        ("control", "controlnet", "light", "control/*.safetensors"),
    ):
        out = base / f"run-{what}"
        x2i.train(what, {**common, "out": str(out), "learning-rate": 0.01})
        (weights,) = out.glob(pattern)
        target = base / "models" / kind / f"{name}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(weights.read_bytes())


def expected(base):
    """What `x2i generate` paints for each workflow, by the package, whose pictures are the program's."""
    import av

    folder = base / "input"
    with av.open(str(folder / "clip.mp4")) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    a, b, tall = [folder / name for name in ("a.png", "b.png", "tall.png")]
    pipe = x2i.Pipeline.from_pretrained("emoji", device="cpu")
    one = lambda pipe=pipe, prompt=TEXT, **call: pipe(prompt, seed=SEED, **call).arrays[0]
    lora = base / "models/loras/style.safetensors"
    light = base / "models/controlnet/light.safetensors"
    turns = [{"prompt": "what is it", "images": [a], "answer": pipe.encode("what is it", images=[a]).answer}]
    return {
        "text": one(),
        "image_batch": one(images=[a, b]),
        "images_of_two_sizes": one(images=[a, tall]),
        "video": one(video=(frames, 4.0)),
        "audio": one(audio=folder / "sound.wav"),
        "dialogue": one(prompt="paint it", turns=turns),
        "generate": one(),
        "generate_image": one(images=[a], init=a, strength=0.8),
        "lightcontrol": one(
            x2i.Pipeline.from_pretrained("emoji", device="cpu", control_weights=light), control=a, control_scale=0.7
        ),
        "lora": one(x2i.Pipeline.from_pretrained("emoji", device="cpu", loras=[(lora, 50.0)])),
        "unload": one(),
        "published": one(images=[a, tall]),
    }


def compare(comfy, name, graph, target):
    (picture, *_), seconds = comfy.pictures(graph)
    assert picture.shape == target.shape, (picture.shape, target.shape)
    difference = np.abs(picture.astype(int) - target)
    most = int(difference.max())
    limit = 0 if any(node["class_type"] == "X2IGenerate" for node in graph.values()) else SAMPLED
    share = (difference > 0).mean()
    print(f"{name}: {seconds:.2f} s, at most {most} grey levels apart, {share:.2%} of the values differ")
    assert most <= limit, f"{name}: {most} grey levels"


def refusals(comfy):
    """Each wrong input is one sentence in the node's own error, and ComfyUI goes on."""
    text = WORKFLOWS["text"]

    def error(graph):
        status, answer = comfy.post("/prompt", {"prompt": graph, "client_id": "test"})
        if status != 200:
            (node, *_) = answer["node_errors"].values()
            return node["errors"][0]["details"]
        return error_of(comfy.wait(answer["prompt_id"]))

    def changed(graph, node, **inputs):
        made = dict(graph)
        made[node] = {**graph[node], "inputs": {**graph[node]["inputs"], **inputs}}
        return made

    cases = {
        "an empty prompt": (changed(text, "2", text=""), "prompt: is empty; say what to paint"),
        "a missing model": (changed(text, "1", model="missing"), "model: there is no folder missing in"),
        "a missing device": (changed(text, "1", device="wgpu:3"), "device wgpu:3: is not there; this machine has"),
        "a size": (changed(WORKFLOWS["generate"], "2", width=40), "width: 40 must be a multiple of 16"),
        "a batch that steers": (
            {**changed(WORKFLOWS["lightcontrol"], "12", image=["23", 0]), **{f"2{key[1]}": value for key, value in renumbered().items()}},
            "image: 2 images; give one",
        ),
        "a dead server": (changed(text, "1", server="http://127.0.0.1:9"), "server: http://127.0.0.1:9 does not answer"),
    }
    for name, (graph, sentence) in cases.items():
        told = error(graph)
        print(f"{name}: {told}")
        assert sentence in told and "\n" not in told, (name, told)
    comfy.pictures(text)


def served(comfy, targets):
    """The same pictures by a server, `x2i serve`, in place of the package."""
    program = Path(sys.executable).parent / "x2i"
    command = [program, "serve", "--port", "0", "--device", "cpu", "--log", "warn"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[-1]
        for name in ("text", "images_of_two_sizes", "video", "audio", "dialogue", "generate", "generate_image"):
            graph = dict(WORKFLOWS[name])
            graph["1"] = {**graph["1"], "inputs": {**graph["1"]["inputs"], "server": address}}
            compare(comfy, f"{name}, by a server", graph, targets[name])
    finally:
        process.terminate()
        process.wait(20)


def renumbered():
    from workflows import batch

    graph = json.loads(json.dumps(batch()).replace('"11"', '"21"').replace('"12"', '"22"').replace('"13"', '"23"'))
    return {key: value for key, value in graph.items()}


def interruption(comfy):
    """Interrupted in mid-step, with previews before it."""
    import asyncio

    import aiohttp

    graph = dict(WORKFLOWS["generate"])
    graph["2"] = {**graph["2"], "inputs": {**graph["2"]["inputs"], "steps": 1000, "width": 512, "height": 512}}

    async def run():
        client = uuid.uuid4().hex
        previews = progress = 0
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{comfy.url}/ws?clientId={client}") as socket:
            prompt = comfy.queue(graph, client)
            sent = None
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    previews += 1
                    picture = message.data[message.data.index(b"\xff\xd8") :]
                    assert Image.open(io.BytesIO(picture)).size[0] <= 512
                    if previews == 2:
                        comfy.post("/interrupt", {})
                        sent = time.monotonic()
                    continue
                event = json.loads(message.data)
                progress += event["type"] == "progress"
                if event["type"] in ("execution_interrupted", "execution_error", "execution_success"):
                    assert event["type"] == "execution_interrupted", event
                    return prompt, previews, progress, time.monotonic() - sent

    _, previews, progress, seconds = asyncio.run(asyncio.wait_for(run(), 60))
    print(f"interrupted: {seconds:.2f} s after it was asked for; {previews} previews and {progress} events of progress before")
    assert previews >= 2 and progress >= 2 and seconds < 5
    comfy.pictures(WORKFLOWS["text"])


def main(checkout, base):
    base = Path(base)
    make_inputs(base)
    targets = expected(base)
    comfy = Comfy(checkout, base, sys.executable)
    try:
        nodes = comfy.get("/object_info")
        print("ComfyUI", comfy.get("/system_stats")["system"]["comfyui_version"], "with", len(nodes), "nodes")
        graphs = {**WORKFLOWS, "published": replaced(PUBLISHED, replacements())}
        for name, graph in graphs.items():
            compare(comfy, name, graph, targets[name])
        served(comfy, targets)
        refusals(comfy)
        interruption(comfy)
        if os.environ.get("X2I_COMFYUI_PICTURES"):
            from screenshots import take

            take(comfy, graphs, Path(os.environ["X2I_COMFYUI_PICTURES"]))
    finally:
        comfy.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
