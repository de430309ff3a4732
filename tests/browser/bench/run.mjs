// Runs the same FLUX blocks with x2i and with onnxruntime-web in one Chromium and prints CPU-seconds.
//
//     node run.mjs WORK [--devices cpu,webgpu] [--weights f32,q8_0,q4_0] [--runtimes x2i,onnxruntime] [--runs 5]
//         [--threads] [--json]
//
// With --threads the page is isolated from other origins, so that both runtimes have a thread for each core.
// WORK holds the files of make_stack.py and `pkg/`, the wasm of this folder's crate. CPU-seconds are
// those of all processes of the browser (WebGPU runs in its GPU process); both runtimes take turns,
// so that whatever else the machine does falls on both.
import { createServer } from "node:http";
import { createReadStream, existsSync, readdirSync, readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    devices: { type: "string", default: "cpu,webgpu" },
    weights: { type: "string", default: "f32,q8_0,q4_0" },
    runtimes: { type: "string", default: "x2i,onnxruntime" },
    runs: { type: "string" },
    threads: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
});
const [work] = positionals;

const ISOLATION = options.threads
  ? { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" }
  : {};

/** Kernel ticks in a second of /proc. */
const TICKS = 100;
/** onnxruntime's WebGPU takes over a minute a pass on a software adapter. */
const RUNS = { cpu: 5, webgpu: 1 };
/**
 * Relative to the largest output. In f32 sums are in another order; with quantized weights both have
 * the same and differ by 5e-5, but may round what is multiplied with them to 8 bits: 1.5e-2.
 */
const TOLERANCES = { f32: 1e-3, q8_0: 2e-2, q4_0: 2e-2 };
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
];

const server = createServer((request, response) => {
  const path = decodeURIComponent(request.url.split("?")[0]);
  const folders = { "/work/": work, "/dist/": join(here, "../../../www/dist") };
  const [prefix] = Object.keys(folders).filter((prefix) => path.startsWith(prefix));
  const file = prefix ? join(folders[prefix], path.slice(prefix.length)) : join(here, path);
  if (!existsSync(file)) {
    // Chromium asks for an icon, and an error in its console should mean something.
    response.writeHead(path === "/favicon.ico" ? 204 : 404).end();
    return;
  }
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", ...ISOLATION });
  createReadStream(file).pipe(response);
}).listen(0);

/** CPU-seconds of all processes that descend from this one. */
function cpuSeconds() {
  const processes = new Map();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      processes.set(name, { parent: fields[1], ticks: Number(fields[11]) + Number(fields[12]) });
    } catch {
      // It ended between the two calls.
    }
  }
  let ticks = 0;
  for (const [name, process_] of processes) {
    let ancestor = process_.parent;
    while (ancestor !== String(process.pid) && processes.has(ancestor)) ancestor = processes.get(ancestor).parent;
    if (ancestor === String(process.pid) && name !== ancestor) ticks += process_.ticks;
  }
  return ticks / TICKS;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** A page in a browser of its own, with this runtime loaded and warm. */
async function open(runtime, device, weights) {
  const browser = await chromium.launch({ executablePath: options.chromium, args: FLAGS });
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  page.on("console", (message) => message.type() === "error" && console.error(`${runtime}: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`${runtime}: ${error}`));
  await page.goto(`http://localhost:${server.address().port}/stack.html`);
  await page.waitForFunction(() => window.ready);
  const provider = runtime === "onnxruntime" && device === "cpu" ? "wasm" : device;
  const began = performance.now();
  const prepare = ([runtime, device, weights]) => window.prepare(runtime, device, weights);
  const output = await page.evaluate(prepare, [runtime, provider, weights]);
  return { runtime, browser, page, output, first: (performance.now() - began) / 1000, cpu: [], wall: [] };
}

async function measure(opened) {
  const before = cpuSeconds();
  const wall = await opened.page.evaluate(async () => {
    const began = performance.now();
    await window.forward();
    return (performance.now() - began) / 1000;
  });
  opened.cpu.push(cpuSeconds() - before);
  opened.wall.push(wall);
}

/** The largest difference, relative to the largest value. */
function difference(a, b) {
  const largest = Math.max(...b.map(Math.abs));
  return Math.max(...a.map((value, index) => Math.abs(value - b[index]))) / largest;
}

/** With --json: one record of all sides, as `x2i bench` prints. */
const record = {
  what: "one double and one single block in Chromium, width 1024",
  machine: { cpu: cpus()[0].model, cores: cpus().length, load: loadavg()[0] },
  sides: [],
};
const say = options.json ? () => {} : console.log;

/** All runtimes in turn; false when their outputs differ. */
async function compare(device, weights) {
  const runs = Number(options.runs ?? RUNS[device]);
  const label = `${device.padEnd(7)} ${weights.padEnd(5)}`;
  const all = [];
  for (const runtime of options.runtimes.split(",")) all.push(await open(runtime, device, weights));
  for (let run = 0; run < runs; run++) for (const opened of all) await measure(opened);
  for (const { runtime, first, cpu, wall } of all) {
    record.sides.push({
      versions: `${runtime} ${weights}, ${device}`,
      runs,
      cpu: median(cpu),
      wall: median(wall),
      ratio: { cpu: median(cpu.map((own, run) => own / all[0].cpu[run])) },
    });
    const facts = [`${median(cpu).toFixed(2)} CPU-s`, `${median(wall).toFixed(2)} s`, `load and first pass ${first.toFixed(1)} s`];
    say(`${label} ${runtime.padEnd(12)} ${facts.join("  ")}  (median of ${runs})`);
  }
  for (const { browser } of all) await browser.close();
  if (all.length < 2) return true;
  const off = difference(all[0].output, all[1].output);
  const ratio = median(all[1].cpu.map((theirs, run) => theirs / all[0].cpu[run]));
  say(`${label} ${all[0].runtime} is ${ratio.toFixed(2)} times as fast; outputs differ by ${off.toExponential(1)}`);
  return off < TOLERANCES[weights];
}

let same = true;
for (const device of options.devices.split(",")) {
  for (const weights of options.weights.split(",")) same = (await compare(device, weights)) && same;
}
server.close();
if (options.json) console.log(JSON.stringify(record));
process.exitCode = same ? 0 : 1;
