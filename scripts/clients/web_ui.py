"""The `webuiapi` package, unmodified."""

import os
import threading
import time
from urllib.parse import urlsplit

import webuiapi
from PIL import Image

address = urlsplit(os.environ["X2I_SERVER"])
api = webuiapi.WebUIApi(
    host=address.hostname, port=address.port, username="anyone", password=os.environ["X2I_KEY"], steps=4
)

# Images from a prompt and from an image.
painted = api.txt2img(prompt="a red apple", negative_prompt="", seed=5, width=64, height=64, batch_size=2)
assert [image.size for image in painted.images] == [(64, 64)] * 2
assert painted.info["all_seeds"] == [5, 6] and painted.parameters["steps"] == 4
again = api.txt2img(prompt="a red apple", seed=6, width=64, height=64)
assert again.image.tobytes() == painted.images[1].tobytes()
changed = api.img2img(images=[Image.new("RGB", (64, 64), "red")], prompt="a cat", steps=20, denoising_strength=0.05, width=64, height=64)
assert changed.image.convert("RGB").getpixel((32, 32))[0] > 150
told = api.txt2img(prompt="a cat", negative_prompt="dogs", width=64, height=64)
assert any("negative_prompt" in warning for warning in told.info["warnings"])

# Settings of an image; PIL wrote it again.
read = api.png_info(painted.image)
assert read.info.startswith("a red apple\nSteps: 4,") and "Seed: 5," in read.info
assert read.json["parameters"]["Size"] == "64x64"

# Options and lists.
assert api.get_options()["sd_model_checkpoint"] == "emoji"
assert api.set_options({"sd_model_checkpoint": "emoji"}) is None
api.util_set_model("emoji")
assert api.util_get_current_model() == "emoji" and api.util_get_model_names() == ["emoji"]
assert [sampler["name"] for sampler in api.get_samplers()] == ["Euler"]
assert api.get_loras() == [] and api.get_sd_vae() == [] and api.get_latent_upscale_modes() == []
assert api.get_upscalers()[0]["name"] == "None" and api.get_hypernetworks() == []
assert api.get_memory()["ram"]["total"] > 0 and api.get_cmd_flags() == {"api": True}
assert api.get_scripts() == {"txt2img": [], "img2img": []}
assert api.refresh_checkpoints() is None
api.util_wait_for_ready()

# Progress and interrupting.
results = []
painting = threading.Thread(
    target=lambda: results.append(api.txt2img(prompt="a cat", steps=40, width=256, height=256, batch_size=4))
)
painting.start()
other = webuiapi.WebUIApi(host=address.hostname, port=address.port, username="anyone", password=os.environ["X2I_KEY"])
seen = 0.0
for _ in range(1000):
    progress = other.get_progress()
    if progress["current_image"]:
        seen = progress["progress"]
        break
    time.sleep(0.01)
assert 0 < seen < 1 and progress["state"]["sampling_steps"] == 40
other.interrupt()
painting.join(timeout=30)
assert results, "the call did not end"
assert results[0].info["interrupted"] and len(results[0].images) < 4
assert other.get_progress()["progress"] == 0
other.skip()
print("webuiapi passes")
