/**
 * The reference implementation's numbers in a browser: the cases of `tests/parity` on the CPU in wasm and on WebGPU.
 *
 * SwiftShader compiles every shader for a second or two, so all cases share one device. WebGPU answers a shader that
 * it can't compile with a message in the console and wrong numbers: any message, a warning too, fails the test.
 *
 * @module
 */

import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from './support/browser.ts';
import { bytesContent, contentAt, serve, type Server } from './support/server.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** As the native test: another set of the same cases. */
const GOLDENS = process.env['X2I_GOLDENS'] ?? join(ROOT, 'tests/goldens');
const BUILT = join(import.meta.dirname, 'output/parity');
const PAGE = '<!doctype html><html lang="en"><title>x2i parity</title><link rel="icon" href="data:,">';

const NETWORK = ['flux_dev_tiny', 'flux_schnell_tiny', 'vae_tiny', 'alignnet', 'pipeline_tiny', 'qwen2_5_vl_tiny'];
/** Numbers of the host, the same on every device. */
const HOST = ['scheduler', 'torch_randn', 'prompt_strings', 'tokenizer_qwen_real'];

/** One state dict in other files: reading them is the host's work, and a T5 stack takes SwiftShader seconds. */
const ALIGNNET_COPY = /^alignnet\/.*(comfyui_proj\.pt|_bf16\.bin|_module_prefix\.bin|legacy_non_zip\.bin|state_dict\.safetensors)$/;

/** What `tests/browser/parity/build` makes. */
interface Module {
  default(): Promise<unknown>;
  Parity: {
    open(device: string, paths: string[], read: (path: string) => Promise<Uint8Array>): Promise<Parity>;
  };
}

interface Parity {
  readonly device: string;
  run(name: string): Promise<{ passed: boolean; text: string }>;
}

let server: Server;

test.beforeAll(async () => {
  server = await serve({
    hooks: [contentAt('/', bytesContent(Buffer.from(PAGE), 'text/html'))],
    folders: { '/built/': BUILT, '/goldens/': GOLDENS },
  });
});

test.afterAll(() => server.close());

for (const [device, cases] of [
  ['cpu', [...NETWORK, ...HOST]],
  ['webgpu', NETWORK],
] as const) {
  test.describe(device, () => {
    test.describe.configure({ timeout: 900_000 });

    test(`${device}: every case is close to the reference implementation`, async ({ page }) => {
      const warnings: string[] = [];
      page.on('console', (message) => message.type() === 'warning' && warnings.push(message.text()));
      await page.addInitScript(countSubgroupShaders);
      await page.goto(`${server.url}/`);
      const all = readdirSync(GOLDENS, { recursive: true, encoding: 'utf8' });
      const paths = device === 'cpu' ? all : all.filter((path) => !ALIGNNET_COPY.test(path));
      const name = await page.evaluate(open, { device, paths });
      console.log(`       device: ${name}`);
      for (const one of cases) {
        const began = performance.now();
        const { passed, text } = await page.evaluate(run, one);
        const seconds = ((performance.now() - began) / 1000).toFixed(1);
        console.log(`${text.trimEnd()}\n       ${seconds} s`);
        expect.soft(passed, text).toBe(true);
      }
      expect(warnings).toEqual([]);
      // SwiftShader offers them, and the kernels that use them are not tried elsewhere in a browser.
      if (device === 'webgpu') expect(await page.evaluate(() => globalThis.subgroupShaders)).toBeGreaterThan(0);
    });
  });
}

declare global {
  /** Shaders compiled so far that use subgroups. */
  var subgroupShaders: number;
}

/** Runs in the page, before its scripts. */
function countSubgroupShaders(): void {
  globalThis.subgroupShaders = 0;
  const { createShaderModule } = GPUDevice.prototype;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    if (descriptor.code.includes('enable subgroups;')) globalThis.subgroupShaders++;
    return createShaderModule.call(this, descriptor);
  };
}

/** Runs in the page, which keeps the device. */
async function open({ device, paths }: { device: string; paths: string[] }): Promise<string> {
  const built = '/built/parity.js';
  const { default: init, Parity } = (await import(built)) as Module;
  await init();
  const read = async (path: string): Promise<Uint8Array> => {
    const response = await fetch(`/goldens/${path}`);
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const parity = await Parity.open(device, paths, read);
  Object.assign(globalThis, { parity });
  return parity.device;
}

/** Runs in the page. */
async function run(name: string): Promise<{ passed: boolean; text: string }> {
  const { parity } = globalThis as unknown as { parity: Parity };
  const { passed, text } = await parity.run(name);
  return { passed, text };
}
