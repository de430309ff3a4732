/**
 * The reference implementation's numbers in a browser: the cases of `tests/parity` on the CPU in wasm and on WebGPU.
 *
 * The harness finds the cases among the files, as natively, and says what each asks of the machine: numbers of the host
 * run on the CPU alone, and a case that trains nowhere, for a browser's build records no gradients. A folder that no code
 * knows is listed as skipped, by name.
 *
 * SwiftShader compiles every shader for a second or two, so all cases share one device. WebGPU answers a shader that
 * it can't compile with a message in the console and wrong numbers: any message, a warning too, fails the test.
 *
 * @module
 */

import { join } from 'node:path';
import { expect, test } from './support/browser.ts';
import { goldenSet } from './support/goldens.ts';
import { bytesContent, contentAt, serve, type Server } from './support/server.ts';

const BUILT = join(import.meta.dirname, 'output/parity');
const PAGE = '<!doctype html><html lang="en"><title>x2i parity</title><link rel="icon" href="data:,">';

/** What `tests/browser/parity/build` makes. */
interface Module {
  default(): Promise<unknown>;
  Parity: {
    open(device: string, paths: string[], read: (path: string) => Promise<Uint8Array>): Promise<Parity>;
  };
}

interface Parity {
  readonly device: string;
  cases(): Found[];
  run(name: string): Promise<{ passed: boolean; text: string }>;
}

/** A case of the set, and what it asks of the machine; nothing where no code knows it. */
interface Found {
  name: string;
  work: 'host' | 'device' | 'training' | undefined;
}

let server: Server;
const goldens = goldenSet();

test.beforeAll(async () => {
  const folders = Object.entries(goldens.folders).map(([name, folder]) => [`/goldens/${name}/`, folder] as const);
  server = await serve({
    hooks: [contentAt('/', bytesContent(Buffer.from(PAGE), 'text/html'))],
    folders: { '/built/': BUILT, ...Object.fromEntries(folders) },
  });
});

test.afterAll(() => server.close());

for (const device of ['cpu', 'webgpu'] as const) {
  test.describe(device, () => {
    test.describe.configure({ timeout: 900_000 });

    test(`${device}: every case is close to the reference implementation`, async ({ page }) => {
      const warnings: string[] = [];
      page.on('console', (message) => message.type() === 'warning' && warnings.push(message.text()));
      await page.addInitScript(countSubgroupShaders);
      await page.goto(`${server.url}/`);
      const { name, cases } = await page.evaluate(open, { device, paths: goldens.paths });
      console.log(`       device: ${name}`);
      const began = performance.now();
      let ran = 0;
      for (const found of cases) {
        const reason = skipped(found, device);
        if (reason) {
          console.log(`SKIPPED ${found.name}: ${reason}`);
          continue;
        }
        const began = performance.now();
        const { passed, text } = await page.evaluate(run, found.name);
        console.log(`${text.trimEnd()}\n       ${seconds(began)}`);
        expect.soft(passed, text).toBe(true);
        ran++;
      }
      console.log(`       ${ran} of ${cases.length} cases ran on ${device} in ${seconds(began)}`);
      expect(ran, 'cases that ran').toBeGreaterThan(0);
      expect(warnings).toEqual([]);
      // SwiftShader offers them, and the kernels that use them are not tried elsewhere in a browser.
      if (device === 'webgpu') expect(await page.evaluate(() => globalThis.subgroupShaders)).toBeGreaterThan(0);
    });
  });
}

/** Why a case does not run on a device; nothing where it does. */
function skipped({ work }: Found, device: 'cpu' | 'webgpu'): string | undefined {
  if (work === undefined) return 'no code for this case yet';
  if (work === 'training') return "it trains, and a browser's build records no gradients";
  if (work === 'host' && device !== 'cpu') return "its numbers are the host's, which the run on the CPU compares";
  return undefined;
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
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
async function open({ device, paths }: { device: string; paths: string[] }): Promise<{ name: string; cases: Found[] }> {
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
  return { name: parity.device, cases: parity.cases().map(({ name, work }) => ({ name, work })) };
}

/** Runs in the page. */
async function run(name: string): Promise<{ passed: boolean; text: string }> {
  const { parity } = globalThis as unknown as { parity: Parity };
  const { passed, text } = await parity.run(name);
  return { passed, text };
}
