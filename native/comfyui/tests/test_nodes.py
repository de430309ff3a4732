"""The nodes against a double of ComfyUI, with the package itself."""

import asyncio
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import x2i

HERE = Path(__file__).resolve().parent
SEED = 7


@pytest.fixture(scope="module")
def pipe():
    return x2i.Pipeline.from_pretrained("emoji", device="cpu")


@pytest.fixture
def images(pack):
    import torch

    random = np.random.default_rng(3)
    return torch.from_numpy((random.integers(0, 256, (2, 32, 48, 3)) / 255).astype(np.float32))


def run(node, **inputs):
    """Runs a node as ComfyUI does: with its required inputs at least, and no unknown ones."""
    schema = node.define_schema()
    known = {each.id for each in schema.inputs}
    required = {each.id for each in schema.inputs if not each.optional}
    defaults = {each.id: each.options["default"] for each in schema.inputs if "default" in each.options}
    assert inputs.keys() <= known, inputs.keys() - known
    given = {**{name: defaults[name] for name in required & defaults.keys()}, **inputs}
    assert required <= given.keys(), required - given.keys()
    outputs = node.execute(**given).args
    assert len(outputs) == len(schema.outputs)
    return outputs


def emoji(nodes, **settings):
    return run(nodes["X2IModel"], model="emoji", device="cpu", keep_loaded=True, **settings)[0]


def test_every_node_has_a_schema_and_a_page(pack, nodes):
    assert set(nodes) == {
        "X2IModel", "X2ILora", "X2ILightControl", "X2IImages", "X2ITurn", "X2IEncode", "X2IGenerate", "X2IUnload", "X2IEmojiFlux",
    }  # fmt: skip
    for name, node in nodes.items():
        schema = node.define_schema()
        assert schema.category == "X2I" and schema.description.endswith(".") and schema.display_name.startswith("X2I ")
        page = (HERE.parent / "web/docs" / f"{name}.md").read_text()
        assert page.startswith(f"# {schema.display_name}\n")
        for each in schema.inputs:
            assert f"`{each.id}`" in page, f"{name}.md says nothing of {each.id}"
    assert pack.WEB_DIRECTORY == "./web"


def test_nothing_but_the_package_and_numpy_is_imported_at_start():
    """No torch, no transformers: ComfyUI has its own."""
    code = """if True:
        import sys
        for name in ("torch", "transformers", "x2i"):
            sys.modules[name] = None
        import folder_paths, importlib.util, tempfile
        folder_paths.reset(tempfile.mkdtemp())
        spec = importlib.util.spec_from_file_location("pack", "__init__.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["pack"] = module
        spec.loader.exec_module(module)
    """
    environment = {"PYTHONPATH": str(HERE / "double")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parent, env=environment)


def test_encode_gives_the_packages_conditioning(nodes, pipe):
    ((conditioning, answer),) = [run(nodes["X2IEncode"], model=emoji(nodes), text="a red apple", guidance=2.5, seed=SEED)]
    ((txt, states),) = conditioning
    expected = pipe.encode("a red apple", seed=SEED)
    assert np.array_equal(txt, expected.txt) and np.array_equal(states["pooled_output"], expected.vec)
    assert states["guidance"] == 2.5 and answer == expected.answer


def test_generate_paints_the_packages_pictures(nodes, pipe):
    pictures, answer, seed = run(nodes["X2IGenerate"], model=emoji(nodes), text="a red apple", seed=SEED, num_images=2)
    expected = pipe("a red apple", seed=SEED, num_images=2)
    assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.float32
    assert np.array_equal(pictures, np.stack(expected.arrays).astype(np.float32) / 255)
    assert (answer, seed) == (expected.answer, SEED)
    settings = {"width": 48, "height": 32, "steps": 2, "guidance": 1.0, "conditioning": "prompt"}
    pictures, *_ = run(nodes["X2IGenerate"], model=emoji(nodes), text="a cat", seed=1, **settings)
    assert np.array_equal(pictures[0] * 255, pipe("a cat", seed=1, **settings).arrays[0])


def test_all_kinds_of_inputs_reach_the_model(nodes, pipe, images):
    import torch

    frames = np.asarray(images)
    clip = SimpleNamespace(get_components=lambda: SimpleNamespace(images=images, frame_rate=Fraction(2)))
    wave = np.sin(np.arange(8000) * 0.3).astype(np.float32)
    sound = {"waveform": torch.from_numpy(np.stack([wave, wave])[None]), "sample_rate": 16_000}
    small = torch.from_numpy(frames[:1, :16])
    (listed,) = run(nodes["X2IImages"], image_1=images, image_2=small)
    assert [picture.shape for picture in listed] == [(32, 48, 3), (32, 48, 3), (16, 48, 3)]
    cases = [
        ({"image": images}, {"images": list(frames)}),
        ({"image": images, "image_2": small}, {"images": [*frames, frames[0, :16]]}),
        ({"image": listed}, {"images": [*frames, frames[0, :16]]}),
        ({"video": clip}, {"video": (frames, 2.0)}),
        ({"audio": sound}, {"audio": (wave, 16_000)}),
        ({"image": images, "audio": sound, "text": ""}, {"images": list(frames), "audio": (wave, 16_000), "prompt": ""}),
    ]
    for inputs, call in cases:
        (((txt, states),), _) = run(nodes["X2IEncode"], **{"model": emoji(nodes), "text": "x", "seed": 0, **inputs})
        expected = pipe.encode(**{"prompt": "x", "seed": 0, **call})
        assert np.array_equal(txt, expected.txt) and np.array_equal(states["pooled_output"], expected.vec)


def test_turns_are_chained(nodes, images):
    (first,) = run(nodes["X2ITurn"], text="what is it", image=images, answer="two pictures")
    (second,) = run(nodes["X2ITurn"], text="and now", turns=first, answer="none")
    assert [turn["answer"] for turn in second] == ["two pictures", "none"]
    assert len(second[0]["images"]) == 2 and second[1]["prompt"] == "and now" and "turns" not in second[1]
    run(nodes["X2IEncode"], model=emoji(nodes), text="paint it", turns=second)


def test_init_is_a_picture_to_begin_with(nodes, pipe, images):
    first = images[:1]
    pictures, *_ = run(nodes["X2IGenerate"], model=emoji(nodes), text="x", seed=1, init=first, strength=0.5)
    expected = pipe("x", seed=1, init=np.asarray(first[0]), strength=0.5)
    assert np.array_equal(np.rint(pictures[0] * 255), expected.arrays[0])
    with pytest.raises(ValueError, match="^init: 2 images; give one$"):
        run(nodes["X2IGenerate"], model=emoji(nodes), text="x", seed=1, init=images)


def test_adapters_are_comfyuis_files(nodes, tmp_path, images):
    import folder_paths

    (Path(folder_paths.models_dir) / "loras/style.safetensors").write_bytes(b"broken")
    (Path(folder_paths.models_dir) / "controlnet/light.safetensors").write_bytes(b"broken")
    (lora,) = run(nodes["X2ILora"], model=emoji(nodes), lora="style.safetensors", strength=0.5)
    (again,) = run(nodes["X2ILora"], model=lora, lora="style.safetensors", strength=0.25)
    assert [scale for _, scale in again.loras] == [0.5, 0.25]
    before = nodes["X2ILora"].fingerprint_inputs(lora="style.safetensors", strength=0.5)
    (Path(folder_paths.models_dir) / "loras/style.safetensors").write_bytes(b"replaced")
    assert nodes["X2ILora"].fingerprint_inputs(lora="style.safetensors", strength=0.5) != before
    assert run(nodes["X2ILora"], model=emoji(nodes), lora="style.safetensors", strength=0.5)[0] != lora
    with pytest.raises(ValueError, match="^loras: .*style.safetensors: "):
        run(nodes["X2IGenerate"], model=lora, text="x", seed=1)
    (control,) = run(nodes["X2ILightControl"], weights="light.safetensors", image=images[:1], scale=0.7, hint="edges")
    assert control["control_scale"] == 0.7 and control["control_hint"] == "edges"
    with pytest.raises(ValueError, match="^control_weights: .*light.safetensors: "):
        run(nodes["X2IGenerate"], model=emoji(nodes), text="x", seed=1, control=control)
    with pytest.raises(ValueError, match="^lora: there is no file gone.safetensors in "):
        run(nodes["X2ILora"], model=emoji(nodes), lora="gone.safetensors", strength=1.0)


def test_models_are_folders_of_comfyui(nodes, tmp_path):
    import folder_paths

    folder = Path(folder_paths.get_folder_paths("x2i")[0]) / "mine"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (options,) = [each.options["options"] for each in nodes["X2IModel"].define_schema().inputs if each.id == "model"]
    assert options == ["emoji", "mine"]
    before = nodes["X2IModel"].fingerprint_inputs(model="mine", device="cpu")
    (folder / "model.json").write_text("{} ")
    assert nodes["X2IModel"].fingerprint_inputs(model="mine", device="cpu") != before
    (model,) = run(nodes["X2IModel"], model="mine", device="cpu")
    with pytest.raises(ValueError, match="model.json"):
        run(nodes["X2IEncode"], model=model, text="x")
    with pytest.raises(ValueError, match="^model: there is no folder gone in .*; put X2I's model there"):
        run(nodes["X2IModel"], model="gone", device="cpu")


def test_memory_is_given_back_unless_it_is_to_be_kept(nodes, pack):
    from x2i_pack.nodes import backend

    kept = emoji(nodes)
    run(nodes["X2IEncode"], model=kept, text="x")
    first = backend.LOCAL._pipeline
    run(nodes["X2IEncode"], model=kept, text="y")
    assert backend.LOCAL._pipeline is first and not first.closed
    (value,) = run(nodes["X2IUnload"], value=3)
    assert value == 3 and first.closed and backend.LOCAL._pipeline is None
    (once,) = run(nodes["X2IModel"], model="emoji", device="cpu")
    run(nodes["X2IEncode"], model=once, text="x")
    assert backend.LOCAL._pipeline is None


def test_comfyui_makes_room_on_a_gpu_that_both_share(nodes, monkeypatch):
    import comfy.model_management as management

    from x2i_pack.nodes import backend

    monkeypatch.setattr(management, "device", "cuda")
    monkeypatch.setattr(management, "freed", [])
    handle = backend.Handle("emoji", "", device="auto")
    backend.LOCAL._opened(x2i, handle)
    assert management.freed == [20 << 20]
    backend.LOCAL._opened(x2i, backend.Handle("emoji", "", device="cpu"))
    assert len(management.freed) == 1


def test_progress_and_previews_are_comfyuis(nodes):
    from comfy.utils import ProgressBar

    ProgressBar.told.clear()
    run(nodes["X2IGenerate"], model=emoji(nodes), text="x", seed=1, num_images=2)
    told = list(ProgressBar.told)
    assert all(0 <= value <= total for value, total, _ in told)
    previews = [preview for *_, preview in told if preview is not None]
    assert len(previews) == 8 and previews[0][0] == "JPEG" and previews[0][2] == 512 and previews[0][1].mode == "RGB"
    assert told[-1][0] == told[-1][1]


def test_an_interruption_comes_out_as_comfyuis_own(nodes, monkeypatch):
    import comfy.model_management as management

    heard = []

    def interrupt_in_mid_step():
        heard.append(1)
        if len(heard) == 40:
            raise management.InterruptProcessingException

    monkeypatch.setattr(management, "throw_exception_if_processing_interrupted", interrupt_in_mid_step)
    with pytest.raises(management.InterruptProcessingException):
        run(nodes["X2IGenerate"], model=emoji(nodes), text="x", seed=1, steps=100)
    assert len(heard) == 40
    run(nodes["X2IGenerate"], model=emoji(nodes), text="x", seed=1, steps=1)


def test_wrong_inputs_are_one_sentence(nodes):
    for inputs, sentence in (
        ({"text": ""}, "prompt: is empty; say what to paint"),
        ({"width": 40}, "width: 40 must be a multiple of 16 between 16 and 8192"),
    ):
        with pytest.raises(ValueError) as raised:
            run(nodes["X2IGenerate"], **{"model": emoji(nodes), "text": "x", "seed": 1, **inputs})
        assert str(raised.value) == sentence


def test_without_the_package_a_node_says_how_to_get_it(nodes, monkeypatch):
    monkeypatch.setitem(sys.modules, "x2i", None)
    message = "X2I needs the package x2i; install it for ComfyUI's Python: python -m pip install x2i"
    for node, inputs in (("X2IEncode", {"text": "x"}), ("X2IGenerate", {"text": "x", "seed": 1})):
        with pytest.raises(RuntimeError) as raised:
            run(nodes[node], model=emoji(nodes), **inputs)
        assert str(raised.value) == message
    with pytest.raises(RuntimeError, match=message):
        run(nodes["X2IEmojiFlux"])


def test_x2is_own_nodes_are_replaced(pack, nodes):
    from comfy_api.latest import ComfyAPI

    ComfyAPI.node_replacement.registered.clear()

    async def loaded():
        await (await pack.comfy_entrypoint()).on_load()

    asyncio.run(loaded())
    replacements = {each.old_node_id: each for each in ComfyAPI.node_replacement.registered}
    assert set(replacements) == {"MLLMLoader", "ProjLoader", "LoadImagePath", "MultiImagePaths", "MLLMEncode"}
    for replacement in replacements.values():
        node = nodes.get(replacement.new_node_id)
        if node is None:
            assert replacement.new_node_id in ("LoadImage", "PrimitiveString")  # ComfyUI's own
            continue
        schema = node.define_schema()
        ids = {each.id for each in schema.inputs}
        assert {mapping["new_id"] for mapping in replacement.input_mapping} <= ids
        assert all(mapping["new_idx"] < len(schema.outputs) for mapping in replacement.output_mapping)


def test_the_published_workflow_runs_with_the_replacements(nodes, pipe, images):
    """Node by node, as ComfyUI runs the graph that the replacements make of it."""
    from workflows import PUBLISHED, TEXT, replaced
    from x2i_pack.nodes.replacements import REPLACEMENTS

    graph = replaced(PUBLISHED, REPLACEMENTS)
    ours = {key: node for key, node in graph.items() if node["class_type"] in nodes and node["class_type"] != "X2IEmojiFlux"}
    assert [node["class_type"] for node in ours.values()] == ["X2IModel", "X2IImages", "X2IEncode"]
    pictures = {"3": images[:1], "4": images[1:]}
    outputs = {key: (value,) for key, value in pictures.items()}
    for key, node in ours.items():
        inputs = {name: outputs[value[0]][value[1]] if isinstance(value, list) else value for name, value in node["inputs"].items()}
        if node["class_type"] == "X2IModel":
            inputs["device"] = "cpu"
        outputs[key] = run(nodes[node["class_type"]], **inputs)
    (((txt, _),), _) = outputs["6"]
    assert np.array_equal(txt, pipe.encode(TEXT, images=list(np.asarray(images)), seed=0).txt)


def test_workflows_name_inputs_that_are_there(nodes):
    from workflows import WORKFLOWS

    for name, graph in WORKFLOWS.items():
        for node in graph.values():
            if node["class_type"] in nodes:
                schema = nodes[node["class_type"]].define_schema()
                ids = {each.id for each in schema.inputs}
                required = {each.id for each in schema.inputs if not each.optional}
                assert node["inputs"].keys() <= ids, (name, node)
                assert required <= node["inputs"].keys(), (name, node)
