"""The exact exchanges of SillyTavern and of Open WebUI, which are too large to install, by plain HTTP.

Open WebUI 0.12.4: `backend/open_webui/routers/images.py`. SillyTavern: `src/endpoints/stable-diffusion.js`.
"""

import base64
import io
import json
import os
import time
import urllib.error
import urllib.request

from PIL import Image

BASE, KEY = os.environ["X2I_SERVER"], os.environ["X2I_KEY"]
BASIC = "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()
BEARER = f"Bearer {KEY}"


def ask(method, path, body=None, key=BASIC, kind="application/json"):
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    url = path if path.startswith("http") else BASE + path
    request = urllib.request.Request(url, data, {"Authorization": key, "Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.headers, answer.read()


def ask_json(*arguments, **named):
    return json.loads(ask(*arguments, **named)[1])


def size(data):
    return Image.open(io.BytesIO(data)).size


def sillytavern():
    options = ask_json("GET", "/sdapi/v1/options")
    assert options["sd_model_checkpoint"] == "emoji"
    assert [model["title"] for model in ask_json("GET", "/sdapi/v1/sd-models")] == ["emoji"]
    assert [sampler["name"] for sampler in ask_json("GET", "/sdapi/v1/samplers")] == ["Euler"]
    assert [scheduler["name"] for scheduler in ask_json("GET", "/sdapi/v1/schedulers")] == ["simple"]
    assert [upscaler["name"] for upscaler in ask_json("GET", "/sdapi/v1/upscalers")] == ["None"]
    assert [mode["name"] for mode in ask_json("GET", "/sdapi/v1/latent-upscale-modes")] == []
    assert [vae["model_name"] for vae in ask_json("GET", "/sdapi/v1/sd-vae")] == []
    ask("POST", "/sdapi/v1/options", {"sd_model_checkpoint": "emoji"})
    for _ in range(10):
        progress = ask_json("GET", "/sdapi/v1/progress")
        if progress["progress"] == 0 and progress["state"]["job_count"] == 0:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the model never came")
    body = {
        "prompt": "a cat, best quality", "negative_prompt": "lowres", "sampler_name": "Euler", "scheduler": "simple",
        "steps": 4, "cfg_scale": 7, "width": 64, "height": 64, "restore_faces": False, "enable_hr": False,
        "hr_upscaler": "None", "hr_scale": 2, "hr_additional_steps": 0, "denoising_strength": 0.7, "clip_skip": 1,
        "override_settings": {"CLIP_stop_at_last_layers": 1}, "override_settings_restore_afterwards": True,
        "save_images": True, "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False,
    }
    answer = ask_json("POST", "/sdapi/v1/txt2img", body)
    assert size(base64.b64decode(answer["images"][0])) == (64, 64)
    ask("POST", "/sdapi/v1/interrupt", b"")


def open_webui_openai():
    models = ask_json("GET", "/v1/models", key=BEARER)
    assert models["data"][0]["id"] == "emoji"
    for model in ["gpt-image-1", "dall-e-2", "emoji", ""]:
        body = {"model": model, "prompt": "a fish", "n": 1}
        if not model.startswith("gpt-image"):
            body["response_format"] = "b64_json"
        data = ask_json("POST", "/v1/images/generations", body, key=BEARER)["data"][0]
        assert size(base64.b64decode(data["b64_json"])) == (64, 64)
    body = {"model": "emoji", "prompt": "a fish", "n": 1, "size": "64x64", "response_format": "url"}
    url = ask_json("POST", "/v1/images/generations", body, key=BEARER)["data"][0]["url"]
    headers, file = ask("GET", url, key=BEARER)
    assert headers["content-type"] == "image/png" and size(file) == (64, 64)
    for name in ["image", "image[]"]:
        parts = [("model", None, b"gpt-image-1"), ("prompt", None, b"in blue"), ("n", None, b"1")]
        parts += [(name, "image.png", file)] * (2 if "[" in name else 1)
        kind, form = multipart(parts)
        data = ask_json("POST", "/v1/images/edits", form, key=BEARER, kind=kind)["data"][0]
        assert size(base64.b64decode(data["b64_json"])) == (64, 64)


def open_webui_automatic1111():
    options = ask_json("GET", "/sdapi/v1/options")
    ask("POST", "/sdapi/v1/options", {**options, "sd_model_checkpoint": "emoji"})
    body = {"prompt": "a fish", "batch_size": 1, "width": 64, "height": 64, "steps": 4, "negative_prompt": ""}
    answer = ask_json("POST", "/sdapi/v1/txt2img", body)
    assert size(base64.b64decode(answer["images"][0])) == (64, 64) and "seed" in json.loads(answer["info"])


def multipart(parts):
    lines = b""
    for name, file, data in parts:
        named = f'; filename="{file}"\r\nContent-Type: image/png' if file else ""
        lines += f'--x2i\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + data + b"\r\n"
    return "multipart/form-data; boundary=x2i", lines + b"--x2i--\r\n"


def strangers():
    for key in ["", "Basic " + base64.b64encode(b"user:wrong").decode()]:
        try:
            ask("GET", "/sdapi/v1/options", key=key)
        except urllib.error.HTTPError as error:
            assert error.code == 401
        else:
            raise AssertionError("a stranger came in")


for exchange in [sillytavern, open_webui_openai, open_webui_automatic1111, strangers]:
    exchange()
    print(exchange.__name__, "passes")
