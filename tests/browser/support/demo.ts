/**
 * The demo page as a visitor uses it, for its tests: served as it was built, with the steps that many tests share.
 *
 * @module
 */

import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, type Page } from '@playwright/test';
import { EMOJI, variantOf } from './runtime.ts';
import { serve, type Server } from './server.ts';

/** The built page. */
export const BUILT = fileURLToPath(new URL('../../../www/demo/dist/', import.meta.url));

/** A loaded machine is many times slower than an idle one; the tests' own limits catch what hangs. */
const PATIENCE_MS = 170_000;

/**
 * Serves the built page. `/sees/` is the embedded model, said to read pictures where it was not trained to (its
 * untrained tower does); `/blind/` is said to read words alone.
 */
export async function serveDemo(): Promise<Server> {
  if (!existsSync(BUILT)) throw new Error('www/demo/dist is missing: npm run build -w @x2i/demo in www/');
  const sees = variantOf((config) => {
    config.name = 'sees';
    const { modalities } = config.defaults;
    if (!(modalities as string[]).includes('image')) config.defaults.modalities = ['text', 'image'];
  });
  const blind = variantOf((config) => {
    config.name = 'blind';
    config.defaults.modalities = ['text'];
  });
  return serve({ folders: { '/': BUILT, '/sees/': sees, '/blind/': blind } });
}

/** What a first picture downloads from a server that does not compress: the code of the page and the model. */
export function downloadLabel(): string {
  const built = readdirSync(join(BUILT, 'assets'));
  const code = built.filter((name) => /^(main|worker|model-emoji)-.*\.(js|css)$|\.wasm$/.test(name));
  const weights = readdirSync(EMOJI).filter((name) => /\.(gguf|json)$/.test(name) && name !== 'model.json');
  const files = [...code.map((name) => join(BUILT, 'assets', name)), ...weights.map((name) => join(EMOJI, name))];
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  return `The first picture downloads ${(bytes / 1e6).toFixed(1)} MB, once.`;
}

/** The line that says what a picture downloads. */
export function downloadLine(page: Page) {
  return page.locator('#download-summary');
}

/** Opens the page for the first time and downloads the model before a picture is asked for. */
export async function enter(page: Page, server: Server, query = ''): Promise<void> {
  await page.goto(`${server.url}/${query}`);
  await expect(downloadLine(page)).toContainText(/downloads [\d.]+ MB/);
  await downloadLine(page).click();
  await page.getByRole('button', { name: 'Download it now' }).click();
  await ready(page);
}

/** Waits for the model. */
export async function ready(page: Page): Promise<void> {
  await expect(page.getByText(/^Paints on /)).toBeVisible({ timeout: PATIENCE_MS });
}

/** Puts a picture into the queue. */
export async function ask(page: Page, prompt: string, seed = '7'): Promise<void> {
  await page.getByLabel('Seed', { exact: true }).fill(seed);
  await page.getByLabel('Prompt', { exact: true }).fill(prompt);
  await page.getByRole('button', { name: 'Paint', exact: true }).click();
}

/**
 * Makes the next pictures take seconds, so that a test can look at one that is being painted: `steps` of them at the
 * largest size. Without, a slow look (axe takes seconds) finds it painted.
 */
export async function paintSlowly(page: Page, steps = 100): Promise<void> {
  await page.getByLabel('Steps', { exact: true }).fill(String(steps));
  await page.getByLabel('Size', { exact: true }).selectOption({ index: 4 });
}

/** Undoes {@link paintSlowly}. */
export async function paintQuickly(page: Page): Promise<void> {
  await page.getByLabel('Steps', { exact: true }).fill('4');
  await page.getByLabel('Size', { exact: true }).selectOption({ index: 0 });
}

/** Waits until the gallery has so many pictures and nothing is being painted. */
export async function painted(page: Page, count: number): Promise<void> {
  await expect(tiles(page)).toHaveCount(count, { timeout: PATIENCE_MS * Math.max(1, count / 3) });
  await expect(page.getByRole('progressbar')).toBeHidden();
}

/** The pictures of the gallery, the newest first. */
export function tiles(page: Page) {
  return page.getByRole('region', { name: 'Gallery' }).getByRole('button', { name: /^Show: / });
}

/** The picture on the easel. */
export function easel(page: Page) {
  return page.getByRole('region', { name: 'Picture', exact: true }).locator('#picture');
}

/** The pixels of the picture on the easel, RGBA. */
export async function pixels(page: Page): Promise<number[]> {
  return easel(page).evaluate(async (image: HTMLImageElement) => {
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext('2d') as OffscreenCanvasRenderingContext2D;
    context.drawImage(image, 0, 0);
    return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
  });
}

/** Drops a file onto the page. */
export async function drop(page: Page, bytes: Uint8Array, name = 'picture.png', type = 'image/png'): Promise<void> {
  await page.evaluate(
    ([data, name, type]) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([Uint8Array.from(data)], name, { type }));
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
    },
    [[...bytes], name, type] as const,
  );
}
