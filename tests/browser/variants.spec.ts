/**
 * One WebAssembly file in every browser: with threads in a page that is isolated from other origins, without relaxed
 * SIMD, and with functions that were left out.
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { decodePng, largestDifference, openPage, paintNatively, ROOT, serveRuntime } from './support/runtime.ts';

const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
const PROMPT = 'a red apple on a blue background';
/** The CPU computes the same in wasm and natively, but for the order of some sums. */
const CPU_GREY_LEVELS = 1;

interface Painted {
  threads: number | undefined;
  png: number[];
  milliseconds: number;
}

/** Paints twice, and returns the second picture. */
async function paint(page: Page, headers: Record<string, string>, workerUrl?: string): Promise<Painted> {
  const server = await serveRuntime([], {}, headers);
  await openPage(page, server);
  const painted = await page.evaluate(async ({ prompt, workerUrl }) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', ...(workerUrl ? { workerUrl } : {}) });
    await x2i.generate({ prompt, seed: 1 }).result;
    const { png, timings } = await x2i.generate({ prompt, seed: 7 }).result;
    const bytes = Array.from(new Uint8Array(await png.arrayBuffer()));
    return { threads: x2i.device.threads, png: bytes, milliseconds: timings.total };
  }, { prompt: PROMPT, workerUrl });
  await server.close();
  return painted;
}

test('an isolated page has a thread for each core, and paints the same picture', async ({ page }) => {
  const alone = await paint(page, {});
  const together = await paint(page, ISOLATED);
  const cores = await page.evaluate(() => navigator.hardwareConcurrency);
  console.log(`second picture: ${alone.milliseconds.toFixed(0)} ms on 1 thread, ${together.milliseconds.toFixed(0)} ms on ${cores}`);
  expect(alone.threads).toBe(1);
  expect(together.threads).toBe(Math.min(cores, 8));
  const [a, b] = [alone, together].map(({ png }) => decodePng(new Uint8Array(png)));
  expect(largestDifference(a!, b!)).toBe(0);
});

test('a browser without relaxed SIMD paints the same picture', async ({ page }) => {
  const { png } = await paint(page, {}, '/workers/patched.js?no-relaxed-simd');
  expect(largestDifference(decodePng(new Uint8Array(png)), paintNatively(PROMPT, 7))).toBeLessThanOrEqual(CPU_GREY_LEVELS);
});

test('without the functions that need it, the file has no relaxed SIMD', async () => {
  const probe = Uint8Array.of(
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253,
    128, 2, 11,
  );
  test.skip(WebAssembly.validate(probe), 'only a Node without relaxed SIMD (20) can tell');
  const folder = join(ROOT, 'www/dist/wasm');
  const bytes = await readFile(join(folder, 'x2i_web_bg.wasm'));
  expect(WebAssembly.validate(bytes)).toBe(false);
  const { relaxed } = await import(join(folder, 'variants.js')) as { relaxed: Array<[number, number]> };
  for (const [at, length] of relaxed) {
    bytes.fill(0x01, at, at + length); // no operation
    bytes.set([0, 0], at); // no locals, unreachable
    bytes[at + length - 1] = 0x0b;
  }
  expect(WebAssembly.validate(bytes)).toBe(true);
});

test('a function that was left out of the module is an error that names it', async ({ page }) => {
  const { rules } = await import(join(ROOT, 'www/dist/wasm/left-out.js')) as { rules: Record<string, string> };
  const [[line, name]] = Object.entries(rules) as [[string, string]];
  const server = await serveRuntime();
  await openPage(page, server);
  const failure = await page.evaluate(async ({ prompt, line }) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', workerUrl: `/workers/patched.js?left-out=${line}` });
    return x2i.generate({ prompt, seed: 1 }).result.then(
      () => undefined,
      (error: { code: string; message: string }) => ({ code: error.code, message: error.message }),
    );
  }, { prompt: PROMPT, line });
  await server.close();
  expect(failure?.code).toBe('internal');
  expect(failure?.message).toContain(`this build leaves out a function that was called, one of ${name}`);
});

test('a thread that ends is an error of the page, which is not left waiting', async ({ page, errors }) => {
  errors.allow(/left out of this build/);
  const server = await serveRuntime([], {}, ISOLATED);
  await openPage(page, server);
  const failure = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const workerUrl = '/workers/patched.js?left-out=1&in=runThread';
    return createPipeline({ model: '/emoji/', device: 'cpu', workerUrl }).then(
      () => undefined,
      (error: { code: string; message: string }) => ({ code: error.code, message: error.message }),
    );
  });
  await server.close();
  expect(failure).toMatchObject({ code: 'internal', message: expect.stringMatching(/^a thread of the CPU ended: .*left out of this build: line 1/s) });
});
