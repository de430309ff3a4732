/** One pipeline of several tabs: one worker, calls of all tabs in turn, and another owner when a tab closes. */

import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { openPage, serveRuntime } from './support/runtime.ts';
import type { Server } from './support/server.ts';

let server: Server;
test.beforeEach(async () => {
  server = await serveRuntime();
});
test.afterEach(() => server.close());

/** Opens the shared pipeline, and keeps it as `x2i` of the page. */
function open(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', share: true });
    Object.assign(globalThis, { x2i });
    return `${x2i.model.name} ${x2i.device.kind}`;
  });
}

/** Paints, and gives the picture's pixels as a sum with the place of each. */
function paint(page: Page, seed: number, steps = 4): Promise<{ sum: number; previews: number }> {
  return page.evaluate(
    async ({ seed, steps }) => {
      const run = (globalThis as any).x2i.generate({ prompt: [{ image: await createImageBitmap(new ImageData(16, 16)) }, 'a red apple'], seed, steps, output: 'pixels' });
      let previews = 0;
      for await (const { preview } of run) if (preview) previews++;
      const { image } = await run.result;
      return { sum: image.reduce((sum: number, value: number, at: number) => (sum * 31 + value + at) % 1_000_003, 0), previews };
    },
    { seed, steps },
  );
}

const workersOf = (page: Page): number => page.workers().length;

test('tabs share one worker, and paint the same pictures in turn', async ({ context }) => {
  const pages = [await context.newPage(), await context.newPage(), await context.newPage()];
  for (const page of pages) await openPage(page, server);
  expect(await Promise.all(pages.map(open))).toEqual(['emoji cpu', 'emoji cpu', 'emoji cpu']);
  expect(pages.map(workersOf).sort()).toEqual([0, 0, 1]);
  const painted = await Promise.all(pages.map((page) => paint(page, 5)));
  expect(new Set(painted.map(({ sum }) => sum)).size).toBe(1);
  expect(painted.map(({ previews }) => previews)).toEqual([4, 4, 4]);
  expect(server.requests.filter(({ path }) => path === '/emoji/flux.gguf')).toHaveLength(1);
});

test('when the owner closes, another tab takes over and repeats what was running', async ({ context }) => {
  const [owner, other] = [await context.newPage(), await context.newPage()];
  for (const page of [owner, other]) {
    await openPage(page, server);
    await open(page);
  }
  expect([workersOf(owner), workersOf(other)]).toEqual([1, 0]);
  const alone = await paint(other, 9, 30);
  const running = paint(other, 9, 30);
  await other.waitForTimeout(300);
  await owner.close();
  expect((await running).sum).toBe(alone.sum);
  expect(workersOf(other)).toBe(1);
});

test('an abort in one tab stops its call alone, and closing a pipeline hands it over', async ({ context }) => {
  const [owner, other] = [await context.newPage(), await context.newPage()];
  for (const page of [owner, other]) {
    await openPage(page, server);
    await open(page);
  }
  const code = await other.evaluate(async () => {
    const stop = new AbortController();
    const run = (globalThis as any).x2i.generate({ prompt: 'a', seed: 1, steps: 100, signal: stop.signal });
    for await (const { phase } of run.result.catch(() => {}) && run) {
      if (phase === 'denoise') break;
    }
    stop.abort();
    return run.result.catch(({ code }: { code: string }) => code);
  });
  expect(code).toBe('aborted');
  const before = await paint(owner, 3);
  await owner.evaluate(() => (globalThis as any).x2i.close());
  expect(await owner.evaluate(() => (globalThis as any).x2i.generate({ prompt: 'a' }).result.catch(({ code }: { code: string }) => code))).toBe('closed');
  expect((await paint(other, 3)).sum).toBe(before.sum);
  expect([workersOf(owner), workersOf(other)]).toEqual([0, 1]);
});

test('a shared model that can not be loaded fails in every tab, and the next try may work', async ({ context, errors }) => {
  errors.allow(/404|Failed to load/);
  const pages = [await context.newPage(), await context.newPage()];
  for (const page of pages) await openPage(page, server);
  const hook = (request: { url?: string }, response: any): boolean => {
    if (!request.url?.startsWith('/emoji/')) return false;
    response.writeHead(404).end();
    return true;
  };
  server.hooks.unshift(hook);
  const failures = await Promise.all(pages.map((page) => open(page).catch((error: Error) => error.message)));
  for (const failure of failures) expect(failure).toMatch(/not found|404/);
  server.hooks.shift();
  expect(await Promise.all(pages.map(open))).toEqual(['emoji cpu', 'emoji cpu']);
});
