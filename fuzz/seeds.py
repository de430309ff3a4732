#!/usr/bin/env python3
"""Makes the seed corpora of the fuzz targets: small files of each kind. Run from the repository's root.

`fuzz/seeds` holds what can't be made from other files here: the keys of LoRA files as their trainers write
them, beside shapes that fit `fuzz/adapter.rs`, and what ffprobe answered for real videos.
"""
import glob
import json
import pathlib
import shutil
import struct
import subprocess
import zlib

LARGEST = 1 << 18  # -max_len of scripts/fuzz
CORPUS = pathlib.Path("fuzz/corpus")
FAMILIES = ["qwen2_5_vl", "internvl2_5", "minicpm_o"]
PARTS = b"\n--\n"  # `parts` in fuzz/lib.rs


def put(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    if len(data) <= LARGEST:
        (folder / name.replace("/", "_")).write_bytes(data)


def copy(target, *patterns):
    for path in sorted(path for pattern in patterns for path in glob.glob(pattern)):
        put(target, path, read(path))


def read(path):
    path = pathlib.Path(path)
    return path.read_bytes() if path.exists() else b""


def configs():
    """The first byte chooses the config."""
    for path in sorted(glob.glob("tests/goldens/*/config.json") + glob.glob("core/configs/*.json")):
        put("config", path, b"\0" + read(path))
    flux = "tests/goldens/pipeline_tiny/flux"
    put("config", "model", b"\1" + read("core/models/emoji/model.json"))
    put("config", "flux", b"\2" + read(f"{flux}/transformer/config.json"))
    put("config", "vae", b"\3" + read(f"{flux}/vae/config.json"))
    put("config", "scheduler", b"\4" + read(f"{flux}/scheduler/scheduler_config.json"))
    for family in FAMILIES:
        put("config", f"folder_{family}", b"\5" + folder(family))


def folder(family):
    """A Hugging Face folder: its configs, and indices of weight files that are empty."""
    def index(part):
        keys = {"a.weight": f"{part}-00001-of-00002.safetensors", "b": f"{part}-00002-of-00002.safetensors"}
        return json.dumps({"metadata": {"total_size": 8}, "weight_map": keys}).encode()

    golden, pipeline = f"tests/goldens/{family}_tiny", "tests/goldens/pipeline_tiny"
    files = {
        "x2i.json": b'{"name": "tiny", "flux": "flux", "mllm": "mllm", "defaults": {"steps": 4}}',
        "mllm/model.safetensors.index.json": index("model"),
        "mllm/model-00001-of-00002.safetensors": b"",
        "mllm/model-00002-of-00002.safetensors": b"",
        "flux/transformer/diffusion_pytorch_model.safetensors": b"",
        "flux/vae/diffusion_pytorch_model.safetensors": b"",
        "proj/diffusion_pytorch_model.bin": b"",
    }
    for name in ["config", "generation_config", "preprocessor_config", "tokenizer_config", "added_tokens"]:
        files[f"mllm/{name}.json"] = read(f"{golden}/{name}.json")
    for name in ["model_index", "transformer/config", "vae/config", "scheduler/scheduler_config"]:
        files[f"flux/{name}.json"] = read(f"{pipeline}/flux/{name}.json")
    files["proj/config.json"] = read(f"{pipeline}/proj/config.json")
    return PARTS.join(path.encode() + b"\n" + data for path, data in files.items())


def tokenizers():
    copy("tokenizer", "tests/goldens/*/tokenizer.json")
    names = ["vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"]
    for family in FAMILIES:
        files = [read(f"tests/goldens/{family}_tiny/{name}") for name in names]
        put("tokenizer", f"{family}_parts", PARTS.join(files))
        files[2] = b""  # so that the older files count
        put("tokenizer", f"{family}_old", PARTS.join(files))
    for name, tokenizer in small_tokenizers():
        put("tokenizer", name, json.dumps(tokenizer, ensure_ascii=False).encode())


def small_tokenizers():
    """Every step that is read, in a file so small that mutations are quick."""
    vocab = {token: id for id, token in enumerate(["a", "r", "e", "d", "p", "l", "Ġ", "▁", "re", "red", "<0x61>"])}
    end = {"id": 11, "content": "<|end|>", "special": True, "normalized": False, "lstrip": True,
           "rstrip": True, "single_word": True}
    model = {"type": "BPE", "vocab": vocab, "merges": [["r", "e"], ["re", "d"]], "unk_token": "a",
             "byte_fallback": True, "fuse_unk": True, "ignore_merges": True, "dropout": None}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    normalizers = [replace, strip] + [
        {"type": kind} for kind in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel"]]
    split = {"type": "Split", "pattern": {"Regex": r"\p{L}+(?!\S)| "}, "behavior": "MergedWithNext", "invert": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    splitters = [split, byte_level, metaspace, {"type": "Whitespace"}, {"type": "WhitespaceSplit"},
                 {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Contiguous"}]
    decoders = [replace, byte_level, metaspace, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": "▁", "start": 1, "stop": 0}]

    def tokenizer(normalizer, splitter, decoder, added=(end,)):
        return {"version": "1.0", "added_tokens": list(added), "normalizer": normalizer, "pre_tokenizer": splitter,
                "post_processor": None, "decoder": decoder, "model": model}

    yield "none", tokenizer(None, None, None, ())
    for kind, steps in [("normalizer", normalizers), ("pre_tokenizer", splitters), ("decoder", decoders)]:
        for at, step in enumerate(steps):
            one = tokenizer(None, None, None)
            one[kind] = step
            yield f"{kind}_{at}", one
    yield "all", tokenizer({"type": "Sequence", "normalizers": normalizers},
                           {"type": "Sequence", "pretokenizers": splitters},
                           {"type": "Sequence", "decoders": decoders})


def templates():
    paths = glob.glob("tests/goldens/*/chat_template.json") + glob.glob("tests/goldens/*/tokenizer_config.json")
    for path in sorted(paths):
        put("template", path, json.loads(read(path)).get("chat_template", "").encode())
    put("template", "statements", rb"""{%- set ns = namespace(n=0, last='') %}{# remark #}
{%- for m in messages[::-1] if m.role != 'tool' %}{% set ns.n = ns.n + 1 %}{{ loop.index0 ~ '/' ~ loop.length }}
{%- if m.content is string %}{{ m.content | trim | upper }}{% elif m['content'] is iterable -%}
{%- for part in m.content %}{{ part.type if part.type is defined else 'none' }}{{ part.get }}{% else %}-{% endfor %}
{%- endif %}{% endfor %}{{ ns.n // 2 % 3 - 1 }}{{ messages | length }}{{ [1, 'a', none, true] | join(', ') }}""")
    put("template", "filters", rb"""{{ messages | map(attribute='role') | list | first | replace('u', 'v') | title }}
{{- {'a': 1, 'b': [2.5]} | tojson }}{{ 'x' in 'xyz' and not false }}{{ range(1, 9, 2) | reverse | list }}
{{- messages[0].content[1:] | selectattr('type', 'equalto', 'text') | list | last | default('none', true) }}
{%- if messages[0].role == 'x' %}{{ raise_exception('no') }}{% endif %}{% raw %}{{ raw }}{% endraw %}""")


def pngs():
    copy("png", "docs/images/*.png")  # with records
    image = read("docs/images/apple.png")
    begin = image.index(b"iTXtx2i\0") + 8
    record = image[begin + 4:begin + struct.unpack(">I", image[begin - 12:begin - 8])[0] - 4]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(depth, color, row, *chunks, interlace=0):
        header = struct.pack(">IIBBBBB", 4, 2, depth, color, 0, 0, interlace)
        rows = zlib.compress((b"\0" + row) * (2 if not interlace else 4))
        chunks = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    packed = chunk(b"iTXt", b"x2i\0\1\0\0\0" + zlib.compress(record))
    plain = chunk(b"iTXt", b"x2i\0\0\0en\0x2i\0" + record)
    other = chunk(b"tEXt", b"Software\0none") + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a"))
    rest = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1))
    rest += chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(128))) + chunk(b"sRGB", b"\0") + chunk(b"cHRM", bytes(32))
    put("png", "packed", png(8, 2, bytes(12), packed))
    put("png", "plain", png(8, 6, bytes(16), other, plain))
    put("png", "wide", png(16, 0, bytes(8), rest, packed))
    put("png", "palette", png(2, 3, bytes(1), chunk(b"PLTE", bytes(12)), chunk(b"tRNS", bytes(4)), plain))
    put("png", "interlaced", png(8, 0, bytes(4), plain, interlace=1))


def gif():
    """Four frames."""
    (CORPUS / "gif").mkdir(parents=True, exist_ok=True)
    if shutil.which("ffmpeg"):
        source = ["-f", "lavfi", "-i", "testsrc=size=16x16:rate=4:duration=1"]
        subprocess.run(["ffmpeg", "-v", "error", "-y", *source, CORPUS / "gif/four-frames.gif"], check=True)


copy("gguf", "tests/community/*.gguf", "core/tests/weights/data/*.gguf", "core/models/emoji/*.gguf")
copy("safetensors", "tests/goldens/*/*.safetensors", "tests/goldens/*/*/*.safetensors")
copy("pickle", "tests/goldens/*/*/*.bin", "tests/goldens/*/*/*.pt")
copy("lora", "fuzz/seeds/lora/*.txt")
copy("ffprobe", "fuzz/seeds/ffprobe/*.txt")
configs()
tokenizers()
templates()
pngs()
gif()
