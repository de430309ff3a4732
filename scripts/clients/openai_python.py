"""The `openai` package for Python, unmodified."""

import base64
import io
import os

import openai
from PIL import Image

client = openai.OpenAI(base_url=os.environ["X2I_SERVER"] + "/v1", api_key=os.environ["X2I_KEY"], max_retries=0)


def picture(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def png(color):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "PNG")
    return file.getvalue()


def refused(call, kind=openai.BadRequestError):
    try:
        call()
    except kind as error:
        assert error.request_id, "no request id"
        return error
    raise AssertionError("it was not refused")


# Models.
assert [model.id for model in client.models.list()] == ["emoji"]
assert client.models.retrieve("emoji").owned_by == "x2i"
missing = refused(lambda: client.models.retrieve("black-forest-labs/FLUX.1-dev"), openai.NotFoundError)
assert missing.code == "model_not_found"

# Images from a prompt.
answer = client.images.generate(prompt="a red apple", model="gpt-image-1", n=2, quality="high", extra_body={"seed": 7})
assert [picture(data.b64_json).size for data in answer.data] == [(64, 64)] * 2
assert [data.seed for data in answer.data] == [7, 8]
assert answer.size == "64x64" and answer.output_format == "png" and answer.background == "opaque"
assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 32
small = client.images.generate(
    prompt="a red apple", size="32x48", output_format="jpeg", output_compression=50, extra_body={"x2i": {"steps": 2}}
)
assert picture(small.data[0].b64_json).size == (32, 48)
link = client.images.generate(prompt="a fish", response_format="url").data[0].url
assert link.startswith(os.environ["X2I_SERVER"] + "/v1/x2i/jobs/")

# Images from images: raw bytes, a file with its name, several, an initial image, a nested list.
red, blue = png("red"), png("blue")
one = client.images.edit(image=red, prompt="a cat", extra_body={"seed": 3})
assert picture(one.data[0].b64_json).size == (64, 64)
named = client.images.edit(image=("red.png", red, "image/png"), prompt="a cat", extra_body={"seed": 3})
assert picture(named.data[0].b64_json).tobytes() == picture(one.data[0].b64_json).tobytes()
several = client.images.edit(image=[red, blue], prompt="a cat", n=2, size="auto", extra_body={"seed": 3, "x2i": {"steps": 3}})
assert len(several.data) == 2
begun = client.images.edit(image=red, prompt="a cat", extra_body={"strength": 0.05, "steps": 20})
assert picture(begun.data[0].b64_json).convert("RGB").getpixel((32, 32))[0] > 150
turns = {"turns": [{"parts": [{"text": "a cat"}], "answer": "a cat"}]}
assert client.images.edit(image=red, prompt="in red", extra_body=turns).data[0].seed is not None

# Streams.
events = list(client.images.generate(prompt="a cat", stream=True, partial_images=2, extra_body={"seed": 1, "steps": 6}))
assert [event.type.split(".")[1] for event in events] == ["partial_image", "partial_image", "completed"]
assert [event.partial_image_index for event in events[:2]] == [0, 1]
assert events[2].seed == 1 and events[2].usage.input_tokens > 0
still = client.images.generate(prompt="a cat", extra_body={"seed": 1, "steps": 6})
assert picture(still.data[0].b64_json).tobytes() == picture(events[2].b64_json).tobytes()
events = list(client.images.edit(image=red, prompt="a cat", stream=True, partial_images=1))
assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
stream = client.images.edit(image=red[:60], prompt="a cat", stream=True)
error = None
try:
    list(stream)
except openai.APIError as raised:
    error = raised
assert error is not None and error.param == "image", error

# What is refused, by its name.
assert refused(lambda: client.images.generate(prompt="a", background="transparent")).param == "background"
assert refused(lambda: client.images.generate(prompt="a", size="100x100")).param == "size"
assert refused(lambda: client.images.generate(prompt="a", extra_body={"colour": 1})).param == "colour"
assert refused(lambda: client.images.edit(prompt="a", image=red, mask=red)).param == "mask"
assert refused(lambda: client.images.generate(prompt="a", model="flux"), openai.NotFoundError).param == "model"
stranger = client.with_options(api_key="wrong")
assert refused(stranger.models.list, openai.AuthenticationError).code == "invalid_api_key"

# A conversation.
messages = [{"role": "user", "content": "a red apple on a blue background"}]
first = client.chat.completions.create(model="emoji", messages=messages, seed=7, temperature=0.5)
content = first.choices[0].message.content
words, markdown = content.split("\n\n")
assert "apple" in words and picture(markdown.split("base64,")[1].rstrip(")")).size == (64, 64)
assert first.choices[0].message.images[0]["image_url"]["url"] in markdown
shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(red).decode()}}
messages += [
    {"role": "assistant", "content": content},
    {"role": "user", "content": [shown, {"type": "text", "text": "the same in this colour"}]},
]
chunks = list(
    client.chat.completions.create(
        model="emoji", messages=messages, seed=8, stream=True, stream_options={"include_usage": True}
    )
)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert "data:image/png;base64," in text and chunks[-1].usage.completion_tokens == 16
assert refused(lambda: client.chat.completions.create(model="emoji", messages=[])).param == "messages"
print("openai", openai.__version__, "passes")
