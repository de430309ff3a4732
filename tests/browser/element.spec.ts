/** The element `<x2i-image>`: consent, events, parts, alternative text, attributes that change, and accessibility. */

import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { serveRuntime } from './support/runtime.ts';
import { bytesContent, contentAt, type Server } from './support/server.ts';

const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; img-src data:";
const MODULE = `
  import '/x2i/element.js';
  globalThis.told = [];
  for (const type of ['x2i-progress', 'x2i-image', 'x2i-error']) {
    addEventListener(type, ({ target, detail }) => told.push({ type, id: target.id, phase: detail.phase, code: detail.code, seed: String(detail.seed) }));
  }
`;

let server: Server;
test.beforeEach(async () => {
  server = await serveRuntime([contentAt('/module.js', bytesContent(Buffer.from(MODULE), 'text/javascript'))]);
});
test.afterEach(() => server.close());

async function open(page: Page, body: string): Promise<void> {
  server.hooks.unshift((request, response) => {
    if (request.url !== '/page') return false;
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': POLICY });
    response.end(`<!doctype html><html lang="en"><title>elements</title><link rel="icon" href="data:," /><main><h1>Elements</h1>${body}</main><script type="module" src="/module.js"></script></html>`);
    return true;
  });
  await page.goto(`${server.url}/page`);
}

const told = (page: Page): Promise<Array<Record<string, string>>> => page.evaluate(() => (globalThis as any).told);
const pixels = (page: Page, id: string): Promise<number[]> =>
  page.locator(`#${id}`).evaluate((element) => {
    const canvas = element.shadowRoot?.querySelector('canvas') as HTMLCanvasElement;
    return [...(canvas.getContext('2d') as CanvasRenderingContext2D).getImageData(2, 2, 1, 1).data];
  });

test('nothing is downloaded before its button is pressed; then it paints, under a strict policy, and tells of it', async ({ page }) => {
  await open(page, '<x2i-image id="one" model="/emoji/" device="cpu" prompt="蓝色背景上的红苹果" seed="7"></x2i-image>');
  const button = page.getByRole('button', { name: 'Generate' });
  await expect(button).toBeVisible();
  await page.waitForTimeout(500);
  expect(server.requests.filter(({ path }) => /\.wasm$|^\/emoji/.test(path))).toEqual([]);
  await button.click();
  await expect(page.locator('#one').getByRole('progressbar', { name: '蓝色背景上的红苹果' })).toBeVisible();
  await expect(page.getByRole('img', { name: '蓝色背景上的红苹果' })).toBeVisible();
  await expect.poll(async () => (await told(page)).filter(({ type }) => type === 'x2i-image')).toHaveLength(1);
  const [red = 0, , blue = 0] = await pixels(page, 'one');
  expect(blue, 'the background is blue').toBeGreaterThan(red + 40);
  const events = await told(page);
  expect(events.at(-1)).toMatchObject({ type: 'x2i-image', id: 'one', seed: '7' });
  expect(new Set(events.map(({ phase }) => phase))).toEqual(new Set(['download', 'load', 'encode', 'denoise', 'decode', undefined]));
  await expect(button).toBeHidden();
  expect(await page.locator('#one').getAttribute('aria-busy')).toBe('false');
});

test('elements share a pipeline, follow their attributes, and one that is gone stops', async ({ page }) => {
  await open(
    page,
    `<x2i-image id="now" start="now" model="/emoji/" device="cpu" prompt="a red apple" seed="1" steps="2" alt="An apple"></x2i-image>
     <x2i-image id="long" start="now" model="/emoji/" device="cpu" prompt="a cat" seed="1" steps="1000"></x2i-image>
     <svg width="1" height="5000"></svg>
     <x2i-image id="below" start="visible" model="/emoji/" device="cpu" prompt="a red apple" seed="1" steps="2"></x2i-image>`,
  );
  const finished = async (id: string) => (await told(page)).filter((event) => event['type'] === 'x2i-image' && event['id'] === id).map(({ seed }) => seed);
  await expect.poll(() => finished('now')).toEqual(['1']);
  await expect(page.getByRole('img', { name: 'An apple' })).toBeVisible();
  expect(page.workers()).toHaveLength(1);
  await page.locator('#now').evaluate((element) => {
    element.setAttribute('seed', '2');
    element.setAttribute('prompt', 'a green apple');
  });
  await page.locator('#long').evaluate((element) => element.remove());
  await expect.poll(() => finished('now')).toEqual(['1', '2']);
  expect(await finished('below')).toEqual([]);
  await page.locator('#below').scrollIntoViewIfNeeded();
  await expect.poll(() => finished('below')).toEqual(['1']);
  expect(page.workers()).toHaveLength(1);
});

test('a failure is shown, told, and can be tried again', async ({ page }) => {
  await open(page, '<x2i-image id="bad" start="now" model="/emoji/" device="cpu" prompt="a" steps="many"></x2i-image>');
  await expect(page.getByRole('alert')).toHaveText(/steps must be a number, not NaN/);
  expect((await told(page)).at(-1)).toMatchObject({ type: 'x2i-error', code: 'request' });
  await expect(page.getByRole('button', { name: 'Generate' })).toBeVisible();
  await page.locator('#bad').evaluate((element) => element.setAttribute('steps', '1'));
  await expect(page.getByRole('img', { name: 'a', exact: true })).toBeVisible();
  await expect(page.getByRole('alert')).toBeHidden();
});

test('it has no faults of accessibility before, while and after it paints', async ({ page, context }) => {
  await open(page, '<x2i-image id="one" model="/emoji/" device="cpu" prompt="a red apple" seed="7" steps="300"></x2i-image>');
  const faults = async () => (await new AxeBuilder({ page }).analyze()).violations.map(({ id }) => id);
  expect(await faults()).toEqual([]);
  await page.getByRole('button', { name: 'Generate' }).click();
  await expect(page.getByRole('progressbar')).toBeVisible();
  expect(await faults()).toEqual([]);
  await page.locator('#one').evaluate((element) => element.setAttribute('steps', '1'));
  await expect.poll(async () => (await told(page)).at(-1)?.['type']).toBe('x2i-image');
  expect(await faults()).toEqual([]);
  expect(context.pages()).toHaveLength(1);
});
