/**
 * A prompt of 512 tokens in the widths of published models: products of 2^32 terms, a number that wasm's sizes can't hold.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from './support/browser.ts';
import { generateModel, longPromptSizes, writeModel } from './support/generated/model.ts';
import { decodePng, openPage, psnr, runNatively, serveRuntime } from './support/runtime.ts';

const PROMPT = 'a red apple on a blue background';
/** In decibels: the browser rounds inputs to 7 or 8 bits, as the native program does without `--exact`. */
const ALIKE = 45;

test('a picture of a long prompt equals the native one', async ({ page }) => {
  const model = await generateModel(await longPromptSizes());
  const folder = await mkdtemp(join(tmpdir(), 'x2i-long-prompt-'));
  const server = await serveRuntime(model.hooks('/long/'));
  try {
    await writeModel(model, folder);
    const expected = runNatively([PROMPT, '--seed', '7', '--model', folder, '--exact']);
    await openPage(page, server);
    const png = await page.evaluate(async (prompt) => {
      const { createPipeline } = await import('/x2i/index.js');
      const x2i = await createPipeline({ model: '/long/', device: 'cpu' });
      const { png } = await x2i.generate({ prompt, seed: 7 }).result;
      x2i.close();
      return Array.from(new Uint8Array(await png.arrayBuffer()));
    }, PROMPT);
    expect(psnr(decodePng(Uint8Array.from(png)), expected)).toBeGreaterThan(ALIKE);
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
});
