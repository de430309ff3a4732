/**
 * Models that are larger than the memory they may take: blocks and layers are read from OPFS in every step.
 *
 * The model has the proportions of FLUX.1-schnell with Qwen2.5-VL-3B, in an eighth of their widths; `large/` paints with
 * the whole shape.
 */

import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { eighthSizes, type GeneratedModel, generateModel } from './support/generated/model.ts';
import { openPage, serveRuntime } from './support/runtime.ts';
import type { Server } from './support/server.ts';

const MIB = 2 ** 20;
/** A quarter of the model: two double blocks of the transformer take 6 MiB, the embedding and the towers 12. */
const LIMIT = 40 * MIB;
/** What wasm's memory holds beside the model: the module's own data, a tokenizer, the VAE's activations, and gaps. */
const BESIDE = 24 * MIB;

let model: GeneratedModel;
let server: Server;
test.beforeAll(async () => {
  model = await generateModel(await eighthSizes());
});
test.beforeEach(async ({ page }) => {
  server = await serveRuntime(model.hooks('/large/'));
  await openPage(page, server);
});
test.afterEach(() => server.close());

interface Painted {
  code?: string;
  message?: string;
  pixels: number[];
  warnings: string[];
  /** Bytes of wasm's memory after the pictures. */
  bytes: number;
}

/** Paints so many pictures with a memory of at most `most` MiB, 0 for as many as it likes. */
function paint(
  page: Page,
  options: { maxDeviceMemory?: number | string; cache?: 'none' },
  { pictures = 1, most = 0, worker = '' } = {},
): Promise<Painted> {
  return page.evaluate(async ([options, pictures, most, worker]) => {
    const { createPipeline } = await import('/x2i/index.js');
    const channel = new BroadcastChannel('x2i-test');
    const painted: Painted = { pixels: [], warnings: [], bytes: 0 };
    try {
      const x2i = await createPipeline({
        model: '/large/', device: 'cpu', workerUrl: `/workers/patched.js?wasm-memory=${most}&${worker}`,
        onWarning: ({ code, message }) => painted.warnings.push(`${code}: ${message}`), ...options,
      });
      for (let picture = 0; picture < pictures; picture++) {
        const { image } = await x2i.generate({ prompt: 'a red apple', seed: 7, output: 'pixels' }).result;
        painted.pixels = Array.from(image);
      }
      const told = new Promise<number>((resolve) => {
        channel.onmessage = ({ data }) => resolve(data.bytes);
      });
      channel.postMessage('wasm-memory');
      painted.bytes = await told;
      x2i.close();
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      Object.assign(painted, { code, message });
    }
    channel.close();
    return painted;
  }, [options, pictures, most, worker] as const);
}

test('a streamed model stays within its memory and paints the same picture bit for bit', async ({ page }) => {
  const whole = await paint(page, {});
  expect(whole).toMatchObject({ warnings: [] });
  expect(whole.code).toBeUndefined();
  expect(new Set(whole.pixels).size).toBeGreaterThan(16);
  const streamed = await paint(page, { maxDeviceMemory: LIMIT }, { pictures: 2 });
  console.log(`${(model.bytes / MIB).toFixed(0)} MiB of weights: wasm's memory has ${(whole.bytes / MIB).toFixed(0)} MiB ` +
    `without a limit, ${(streamed.bytes / MIB).toFixed(0)} MiB with one of ${LIMIT / MIB}`);
  expect(streamed.message).toBeUndefined();
  expect(streamed.warnings).toEqual([]);
  expect(streamed.pixels).toEqual(whole.pixels);
  expect(whole.bytes).toBeGreaterThan(model.bytes);
  expect(streamed.bytes).toBeLessThan(LIMIT + BESIDE);
});

test('a memory that is full says what helps, and with it the picture is painted', async ({ page, errors }) => {
  errors.allow(/unreachable|RuntimeError/);
  const most = (LIMIT + BESIDE) / MIB;
  const full = await paint(page, {}, { most });
  expect(full.code).toBe('device-limit');
  expect(full.message).toMatch(/wasm's memory of \d+ MiB is full.*set maxDeviceMemory/);
  const streamed = await paint(page, { maxDeviceMemory: '40M' }, { most });
  expect(streamed.message).toBeUndefined();
  expect(streamed.bytes).toBeLessThanOrEqual(most * MIB);
});

test('a warning says where blocks come from that are not in OPFS', async ({ page }) => {
  const network = await paint(page, { maxDeviceMemory: LIMIT, cache: 'none' }, { pictures: 0 });
  expect(network.warnings.at(-1)).toMatch(/^streamed: generated-eighth is larger than the 40 MiB .* from the network in every step/);
  const slow = await paint(page, { maxDeviceMemory: LIMIT }, { pictures: 0, worker: 'no-opfs' });
  expect(slow.warnings).toHaveLength(1);
  expect(slow.warnings[0]).toMatch(/^streamed: .* from Cache Storage in every step/);
  const nowhere = await paint(page, { maxDeviceMemory: LIMIT }, { pictures: 0, worker: 'no-cache' });
  expect(nowhere.warnings.map((warning) => warning.split(':')[0])).toEqual(['cache-unavailable', 'streamed']);
  expect(nowhere.warnings[1]).toMatch(/from wasm's memory, which holds all of it/);
});

test('a limit that is too small is refused with the need', async ({ page }) => {
  const refused = await paint(page, { maxDeviceMemory: '4MB' });
  expect(refused.code).toBe('request');
  expect(refused.message).toMatch(/^maxDeviceMemory: 3 MiB are too few: the encoder with two layers at a time needs \d+ MiB$/);
});
