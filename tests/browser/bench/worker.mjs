// x2i's side of stack.html, in a worker as the package has it: in the variant that the page can take, with its threads.
import { becomeThread, openThreads } from "/dist/threads.js";
import { compile, memoryOf, variantHere } from "/dist/variants.js";
import * as layout from "/work/pkg/variants.js";
import * as wasm from "/work/pkg/x2i_bench_web.js";

let stack;

async function prepare({ weights, facts, device }) {
  const variant = variantHere();
  const memory = memoryOf(layout, variant);
  const compiled = await compile("/work/pkg/x2i_bench_web_bg.wasm", layout, variant);
  await wasm.default({ module_or_path: compiled, memory });
  if (variant.relaxed) wasm.tellRelaxedSimd();
  const threads = device === "cpu" ? await openThreads({ wasm, compiled, memory, shared: variant.shared }, "x2i-bench") : 1;
  stack = await wasm.Stack.load(weights, facts, device);
  return threads;
}

addEventListener("message", async ({ data }) => {
  if (data.thread) return becomeThread(wasm, data, () => postMessage("ready"));
  try {
    const answer = data.prepare ? await prepare(data.prepare) : await stack.forward(data.img, data.txt, data.vec);
    postMessage({ answer });
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
