"""Pictures of the workflows in ComfyUI's own page, and the same workflows in the page's form.

Run by scripts/test-comfyui --pictures: needs Playwright and Chromium. Writes docs/images/comfyui-*.png and
example_workflows/*.json with a preview each.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "example_workflows"
SIZE = {"width": 2200, "height": 1500}

# Lays a graph of the API's form out and shows all of it; gives the page's form, and where it is on the page.
SHOW = """async (graph) => {
    const app = window.app ?? window.comfyAPI.app.app;
    const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
    await app.loadApiJson(graph, "x2i");
    await pause(1000);
    const nodes = app.graph._nodes;
    for (const node of nodes) {
        for (const widget of node.widgets ?? []) if (widget.name === "control_after_generate") widget.value = "fixed";
        node.setSize(node.computeSize());
    }
    app.graph.arrange(60);
    await pause(500);
    const left = Math.min(...nodes.map((node) => node.pos[0])), top = Math.min(...nodes.map((node) => node.pos[1])) - 60;
    const width = Math.max(...nodes.map((node) => node.pos[0] + node.size[0])) - left;
    const height = Math.max(...nodes.map((node) => node.pos[1] + node.size[1])) - top;
    const canvas = app.canvas.canvas, x = 80, y = 100;
    const scale = Math.min(1, (canvas.clientWidth - 2 * x) / width, (canvas.clientHeight - 2 * y) / height);
    app.canvas.low_quality_zoom_threshold = 0;
    app.canvas.min_font_size_for_lod = 0;
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [x / scale - left, y / scale - top];
    app.graph.setDirtyCanvas(true, true);
    await pause(1500);
    const place = canvas.getBoundingClientRect();
    const box = { x: place.x + x - 20, y: place.y + y - 10, width: width * scale + 40, height: height * scale + 30 };
    return JSON.stringify([app.graph.serialize(), box]);
}"""


def take(comfy, graphs, images: Path, chromium: str | None = None) -> None:
    chromium = chromium or shutil.which("chromium") or shutil.which("google-chrome")
    images.mkdir(parents=True, exist_ok=True)
    EXAMPLES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, graph in graphs.items():
            page = browser.new_page(viewport=SIZE)
            page.goto(comfy.url)
            page.wait_for_function("() => (window.app ?? window.comfyAPI?.app?.app)?.graph", timeout=60_000)
            page.wait_for_timeout(3000)
            page.keyboard.press("Escape")
            page.add_style_tag(content=".minimap-main-container, .graph-canvas-panel > div { visibility: hidden }")
            saved, box = json.loads(page.evaluate(SHOW, graph))
            shot = images / f"comfyui-{name.replace('_', '-')}.png"
            page.screenshot(path=shot, clip=box)
            page.close()
            smaller(shot)
            known = {node["type"] for node in saved["nodes"]}
            assert len(saved["nodes"]) == len(graph), (name, known)
            if name == "published":
                continue  # it is X2I's own
            # Ids of a run are none of the workflow's.
            saved.pop("id", None)
            (EXAMPLES / f"{name}.json").write_text(json.dumps(saved, indent=1) + "\n")
            pictures, _ = comfy.pictures(graph)
            Image.fromarray(pictures[0]).resize((256, 256), Image.NEAREST).save(EXAMPLES / f"{name}.jpg", quality=85)
            print(f"shown: {name}")
        browser.close()


def smaller(path: Path) -> None:
    image = Image.open(path).convert("RGB")
    image.quantize(64).save(path, optimize=True)
