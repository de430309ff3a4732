/**
 * What the demo page says and shows: what this model paints, real results before any download, honest answers, pictures
 * as they are, links that carry one, and the numbers of a run. How it is used is in demo.spec.ts.
 */

import { readFileSync } from 'node:fs';
import type { Page } from '@playwright/test';
import { ask, easel, enter, painted, pixels, serveDemo, tiles } from './support/demo.ts';
import { expect, test } from './support/browser.ts';
import { bytesContent, contentAt, type Server } from './support/server.ts';

/** Of 255, the mean over all channels: the wasm rounds otherwise than the native program. */
const SAME_PICTURE = 2;

let server: Server;
test.beforeEach(async () => void (server = await serveDemo()));
test.afterEach(() => server.close());

const asked = (pattern: RegExp) => server.requests.filter(({ path }) => pattern.test(path));
const example = (page: Page, words: string) => page.getByRole('button', { name: words });

/** The pixels of an image element, RGBA. */
function pixelsOf(page: Page, selector: string): Promise<number[]> {
  return page.locator(selector).evaluate(async (image: HTMLImageElement) => {
    await image.decode();
    const context = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d') as OffscreenCanvasRenderingContext2D;
    context.drawImage(image, 0, 0);
    return [...context.getImageData(0, 0, image.naturalWidth, image.naturalHeight).data];
  });
}

function difference(one: number[], other: number[]): number {
  expect(one.length).toBe(other.length);
  return one.reduce((sum, value, at) => sum + Math.abs(value - (other[at] as number)), 0) / one.length;
}

test('the first lines say what the model paints, beside twelve real pictures, before any weight is asked for', async ({ page }) => {
  await page.goto(server.url);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Paints emoji-like pictures of 160 things from words in eight languages');
  await expect(page.locator('.lead').first()).toContainText('no people, scenes or text');
  const shown = page.locator('#examples img, #hero img');
  await expect(shown).toHaveCount(12);
  for (const image of await shown.all()) expect(await image.evaluate(async (one: HTMLImageElement) => (await one.decode(), one.naturalWidth))).toBe(64);
  const languages = await page.locator('#hero [lang]').evaluateAll((all) => all.map((one) => (one as HTMLElement).lang));
  expect(languages).toEqual(['en', 'zh', 'de', 'fr', 'ja', 'es', 'ru', 'vi']);
  expect(asked(/gguf/)).toEqual([]);
});

test('one tap on an example downloads the model and paints the picture that was shown', async ({ page }) => {
  await page.goto(server.url);
  const shown = await pixelsOf(page, '#examples li:nth-child(3) img');
  await example(page, 'a rocket on a purple background').click();
  await painted(page, 1);
  expect(difference(await pixels(page), shown)).toBeLessThan(SAME_PICTURE);
  await expect(page.locator('#plate')).toContainText('Understood as: a rocket on purple, fluent style');
  await expect(page.locator('#plate .doubt')).toHaveCount(0);
});

test('a prompt beyond the model is answered with a doubt and the nearest things, and one of them is painted by a tap', async ({ page }) => {
  await enter(page, server);
  await ask(page, 'Angela Merkel riding a horse');
  await painted(page, 1);
  await expect(page.locator('#plate')).toContainText('A guess: ');
  await expect(page.locator('#plate')).toContainText('I am not sure I know that.');
  await page.locator('#plate').getByRole('button', { name: 'horse', exact: true }).click();
  await painted(page, 2);
  await expect(page.locator('#plate')).toContainText('Understood as: a horse on white');
});

test('all that the model knows is listed in the language of the examples, and painted by a tap', async ({ page }) => {
  await enter(page, server);
  await page.getByText('All 160 things').click();
  await expect(page.locator('#knows-words button')).toHaveCount(160);
  await page.getByRole('radio', { name: 'Deutsch' }).check({ force: true });
  await page.locator('#knows-words').getByRole('button', { name: 'Sonnenblume', exact: true }).click();
  await painted(page, 1);
  await expect(page.locator('#plate')).toContainText('Understood as: a sunflower on white');
});

for (const [width, height] of [[360, 640], [360, 740], [768, 900], [1280, 900]] as const) {
  test(`at ${width} x ${height} the Paint button is in sight and pixels are squares`, async ({ page }) => {
    await page.setViewportSize({ width, height });
    await page.goto(server.url);
    const button = await page.getByRole('button', { name: 'Paint', exact: true }).boundingBox();
    expect((button?.y ?? height) + (button?.height ?? 0)).toBeLessThan(height);
    for (const chip of await page.locator('.pill, .example, #paint').all()) expect((await chip.boundingBox())?.height).toBeGreaterThanOrEqual(44);
    await ask(page, 'a cactus on a pink background');
    await painted(page, 1);
    await expect(page.getByText('Understood as: a cactus on pink')).toBeInViewport();
    await expect(page.getByRole('status')).toContainText('Understood as: cactus on a pink background');
    await expect(easel(page)).toHaveCSS('image-rendering', 'pixelated');
    const side = (await easel(page).boundingBox())?.width ?? 0;
    expect(side / 64).toBe(Math.round(side / 64));
    expect(side).toBeLessThanOrEqual(448);
  });
}

test('a link carries a picture: it fills the form, waits for a tap, and paints the same pixels', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await enter(page, server);
  await page.getByLabel('Steps', { exact: true }).fill('3');
  await ask(page, 'кактус на розовом фоне', '18446744073709551615');
  await painted(page, 1);
  const before = await pixels(page);
  await page.getByRole('button', { name: 'Copy link' }).click();
  await expect(page.getByRole('alert')).toContainText('The link was copied.');
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(Object.fromEntries(new URL(link).searchParams)).toEqual({ prompt: 'кактус на розовом фоне', seed: '18446744073709551615', lang: 'ru', steps: '3' });
  await page.getByRole('button', { name: 'Copy picture' }).click();
  await expect(page.getByRole('alert')).toContainText('The picture was copied.');
  const copied = await page.evaluate(async () => (await navigator.clipboard.read())[0]?.types);
  expect(copied).toContain('image/png');
  await page.goto(link);
  await expect(page.getByRole('radio', { name: 'Русский' })).toBeChecked();
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveAttribute('lang', 'ru');
  await expect(tiles(page)).toHaveCount(1);
  await page.getByRole('button', { name: 'Paint', exact: true }).click();
  await painted(page, 2);
  expect(await pixels(page)).toEqual(before);
});

test('a wrong seed or number of steps is told at its field, and paints nothing', async ({ page }) => {
  await enter(page, server);
  const [seed, steps] = [page.getByLabel('Seed', { exact: true }), page.getByLabel('Steps', { exact: true })];
  for (const wrong of ['12ab', '18446744073709551616', '-1', '1.5']) {
    await ask(page, 'a dog', wrong);
    await expect(seed).toHaveAttribute('aria-invalid', 'true');
    await expect(seed).toHaveValue(wrong);
    await expect(seed).toHaveAccessibleDescription(/A whole number from 0 to 18446744073709551615/);
    await expect(seed).toBeFocused();
  }
  await seed.fill('7');
  await expect(page.locator('#seed-error')).toBeHidden();
  for (const wrong of ['0', '101', '500', 'four']) {
    await steps.fill(wrong);
    await page.getByRole('button', { name: 'Paint', exact: true }).click();
    await expect(steps).toHaveAccessibleDescription('A whole number from 1 to 100.');
  }
  await steps.fill('2');
  await page.getByRole('button', { name: 'Paint', exact: true }).click();
  await painted(page, 1);
  await expect(page.locator('#plate')).toContainText(/Steps\s*2/);
});

test('the way of a prompt shows the numbers of the run', async ({ page }) => {
  await enter(page, server);
  await page.getByLabel('Steps', { exact: true }).fill('3');
  await ask(page, 'a red apple on a blue background');
  await painted(page, 1);
  const stages = page.locator('#works .did');
  await expect(stages.nth(0)).toHaveText('32 characters');
  // `red apple on a blue background, noto style` is nine tokens of the model's vocabulary.
  await expect(stages.nth(1)).toHaveText(/^answered in 9 tokens, [\d.]+ m?s$/);
  await expect(stages.nth(3)).toHaveText(/^step 3 of 3, 18 of 18 blocks, [\d.]+ m?s$/);
  await expect(stages.nth(4)).toHaveText(/^64 × 64, [\d.]+ m?s$/);
});

test('ten lines of code can be copied, and links lead to the package, the paper and the licence', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto(server.url);
  await page.getByRole('button', { name: 'Copy: JavaScript' }).click();
  const code = await page.evaluate(() => navigator.clipboard.readText());
  expect(code.split('\n').filter((line) => line.trim() !== '')).toHaveLength(10);
  expect(code).toContain("createPipeline({ model: 'emoji' })");
  for (const name of ['Package @x2i/web', 'Paper', 'Licence of the model']) await expect(page.getByRole('link', { name })).toHaveAttribute('href', /^https:/);
});

test('a visitor who saves data is sent no program and no model before a tap', async ({ page }) => {
  await page.addInitScript(() => Object.defineProperty(navigator, 'connection', { value: { saveData: true } }));
  await page.goto(server.url);
  await page.waitForTimeout(1000);
  expect(asked(/wasm|gguf/)).toEqual([]);
  await ask(page, 'a dog');
  await painted(page, 1);
});

test('a large model is asked about before it is downloaded', async ({ page }) => {
  const config = JSON.parse(readFileSync(new URL('../../core/models/emoji/model.json', import.meta.url), 'utf8'));
  config.files['flux.gguf'].bytes = 6_800_000_000;
  server.hooks.unshift(contentAt('/large/model.json', bytesContent(Buffer.from(JSON.stringify(config)), 'application/json')));
  await page.goto(`${server.url}/?model=/large/`);
  await ask(page, 'a dog');
  await expect(page.getByRole('dialog')).toContainText('This model is 6.81 GB to download.');
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await expect(page.getByRole('dialog')).toBeHidden();
  await expect(page.getByLabel('Prompt', { exact: true })).toBeFocused();
  await page.waitForTimeout(500);
  expect(asked(/gguf/)).toEqual([]);
});

test('another model is not said to paint what the embedded one does', async ({ page }) => {
  await enter(page, server, '?model=/blind/');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('What you say or show becomes a picture');
  await expect(page.locator('#examples, #hero, #knows').first()).toBeHidden();
  for (const claim of await page.getByText('160 things').all()) await expect(claim).toBeHidden();
});
