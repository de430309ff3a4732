/**
 * The cache of models between visits and between tabs: one download for all, damage that heals, models that are
 * updated, a full disk, and browsers with less storage than others.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { convertedTo, EMOJI, openPage, serveRuntime, variantOf } from './support/runtime.ts';
import { bytesContent, fileContent, type Hook, pathOf, type Server, send } from './support/server.ts';
import { bytesOf, damage, empty, hashOf, records, stored, versionWith } from './support/storage.ts';

const MODEL = bytesOf(records());
const PROMPT = 'a red apple on a blue background';

let server: Server;
/** Folders by their paths, which a test may exchange. */
const folders: Record<string, string> = {};
test.beforeEach(async ({ page }) => {
  for (const path of Object.keys(folders)) delete folders[path];
  server = await serveRuntime([async (request, response) => {
    const path = pathOf(request);
    const place = Object.keys(folders).find((place) => path.startsWith(place));
    const content = place && (await fileContent(join(folders[place] as string, path.slice(place.length))));
    if (content) await send(request, response, content);
    return Boolean(content);
  }]);
  await openPage(page, server);
});
test.afterEach(() => server.close());

interface Loaded {
  outcome: string;
  warnings: Array<{ code: string; message: string }>;
  picture?: number[];
}

/** Loads a model, and paints with it if that is asked for. */
function load(page: Page, wish: { model?: string; query?: string; paint?: boolean; evict?: boolean } = {}): Promise<Loaded> {
  return page.evaluate(async ({ wish: { model = '/emoji/', query = '', paint, evict = false }, prompt }) => {
    const { createPipeline } = await import('/x2i/index.js');
    const warnings: Array<{ code: string; message: string }> = [];
    try {
      const x2i = await createPipeline({
        model, device: 'cpu', evict, workerUrl: `/workers/patched.js?${query}`, onWarning: (warning) => warnings.push(warning),
      });
      const painted = paint ? await x2i.generate({ prompt, seed: 1, output: 'pixels' }).result : undefined;
      x2i.close();
      return { outcome: 'loaded', warnings, ...(painted && { picture: [...painted.image] }) };
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return { outcome: `${code}: ${message}`, warnings };
    }
  }, { wish, prompt: PROMPT });
}

/** How often each weight file was asked for. */
function downloads(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { path } of server.requests) if (path.endsWith('.gguf')) counts[path] = (counts[path] ?? 0) + 1;
  return counts;
}

const ONCE = { '/emoji/encoder.gguf': 1, '/emoji/align_net.gguf': 1, '/emoji/flux.gguf': 1, '/emoji/vae.gguf': 1 };

/** Sends a file slowly, `pieces` of 64 kB, and then no more until `go` is called. */
function slowly(path: string, pieces: number): { hook: Hook; go: () => void; starts: number[] } {
  let go = (): void => {};
  const gone = new Promise<void>((resolve) => { go = resolve; });
  const starts: number[] = [];
  const bytes = readFileSync(join(EMOJI, path.slice(path.lastIndexOf('/') + 1)));
  const hook: Hook = async (request, response) => {
    if (pathOf(request) !== path) return false;
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    starts.push(start);
    if (starts.length > 1) return false;
    response.writeHead(200, { 'Content-Length': bytes.length });
    for (let piece = 0; piece < pieces; piece++) {
      response.write(bytes.subarray(piece * 65_536, (piece + 1) * 65_536));
      await new Promise((later) => setTimeout(later, 10));
    }
    await gone;
    if (!response.destroyed) response.end(bytes.subarray(pieces * 65_536));
    return true;
  };
  return { hook, go, starts };
}

test.describe('several tabs', () => {
  test('pipelines that start together download each file once: 24 creations in four tabs', async ({ page, context }) => {
    const pages = [page];
    while (pages.length < 4) pages.push(await context.newPage());
    for (const each of pages) await openPage(each, server);
    for (let round = 0; round < 3; round++) {
      await empty(page);
      server.requests.length = 0;
      const loaded = await Promise.all(pages.flatMap((each) => [load(each), load(each)]));
      expect(loaded).toEqual(Array(8).fill({ outcome: 'loaded', warnings: [] }));
      expect(downloads()).toEqual(ONCE);
      const sizes = await stored(page);
      expect(Object.values(sizes).reduce((a, b) => a + b)).toBe(MODEL);
    }
  });

  test('a tab that is closed in the middle of a download hands it over', async ({ page, context }) => {
    const slow = slowly('/emoji/flux.gguf', 30);
    server.hooks.unshift(slow.hook);
    const first = await context.newPage();
    await openPage(first, server);
    const closed = load(first).catch(() => 'closed');
    await expect.poll(() => slow.starts.length).toBe(1);
    const second = load(page);
    await expect.poll(async () => (await stored(page))[hashOf('flux.gguf')] ?? 0).toBeGreaterThan(1_000_000);
    await first.close();
    expect(await closed).toBe('closed');
    expect(await second).toEqual({ outcome: 'loaded', warnings: [] });
    slow.go();
    expect(slow.starts).toEqual([0, expect.any(Number)]);
    expect(slow.starts[1], 'goes on where the first tab was').toBeGreaterThan(1_000_000);
  });

  test('a pipeline that is aborted in the middle of a download hands it over', async ({ page, errors }) => {
    errors.allow(/ERR_ABORTED/);
    const slow = slowly('/emoji/flux.gguf', 30);
    server.hooks.unshift(slow.hook);
    const outcomes = page.evaluate(async () => {
      const { createPipeline } = await import('/x2i/index.js');
      const controller = new AbortController();
      const stop = ({ file, done, total }: { file?: string; done: number; total: number }) => {
        if (file === 'flux.gguf' && done > 0.6 * total) controller.abort();
      };
      const first = createPipeline({ model: '/emoji/', device: 'cpu', signal: controller.signal, onProgress: stop });
      const second = createPipeline({ model: '/emoji/', device: 'cpu' });
      const outcome = (made: Promise<{ close(): void }>) => made.then((x2i) => (x2i.close(), 'loaded'), ({ code }) => code);
      // Whoever downloads is aborted: the second only in case that it came first.
      return Promise.all([outcome(first), outcome(second)]);
    });
    await expect.poll(() => slow.starts.length, { timeout: 30_000 }).toBeGreaterThan(0);
    setTimeout(slow.go, 3000);
    expect(await outcomes).toEqual(['aborted', 'loaded']);
  });

  test('a tab whose download does not move does not stop the others', async ({ page, context }) => {
    const slow = slowly('/emoji/vae.gguf', 2);
    server.hooks.unshift(slow.hook);
    const first = await context.newPage();
    await openPage(first, server);
    const waits = load(first);
    await expect.poll(() => slow.starts.length).toBe(1);
    const loaded = await load(page, { query: 'hurry' });
    expect(loaded.outcome).toBe('loaded');
    expect(loaded.warnings.map(({ code }) => code)).toEqual(['cache-unavailable']);
    slow.go();
    expect((await waits).outcome).toBe('loaded');
  });

  test('without Web Locks pipelines that start together load', async ({ page }) => {
    const loaded = await Promise.all([1, 2, 3].map(() => load(page, { query: 'no-locks' })));
    expect(loaded.map(({ outcome }) => outcome)).toEqual(['loaded', 'loaded', 'loaded']);
    expect(Object.values(await stored(page)).reduce((a, b) => a + b)).toBe(MODEL);
  });
});

test.describe('damage', () => {
  test('a stored file whose header is broken is told, downloaded again, and the model loads', async ({ page }) => {
    await load(page);
    await damage(page, hashOf('vae.gguf'), { at: 8, bytes: 64, value: 0x55 });
    server.requests.length = 0;
    const loaded = await load(page);
    expect(loaded.outcome).toBe('loaded');
    expect(loaded.warnings).toEqual([{ code: 'damaged', message: expect.stringMatching(/^vae\.gguf was damaged in the cache/) }]);
    expect(downloads()).toEqual({ '/emoji/vae.gguf': 1 });
    expect(await load(page), 'it is whole again').toEqual({ outcome: 'loaded', warnings: [] });
  });

  test('weights that give NaN are told, downloaded again, and the picture is the right one', async ({ page }) => {
    const { picture } = await load(page, { paint: true });
    await damage(page, hashOf('flux.gguf'), { at: 3_000_000, bytes: 500_000, value: 0xff });
    server.requests.length = 0;
    const healed = await load(page, { paint: true });
    expect(healed.outcome).toBe('loaded');
    expect(healed.warnings.map(({ code }) => code)).toEqual(['damaged']);
    expect(downloads()).toEqual({ '/emoji/flux.gguf': 1 });
    expect(healed.picture).toEqual(picture);
  });

  test('the kept part of a broken download is not trusted', async ({ page, errors }) => {
    errors.allow(/ERR_ABORTED|ERR_INCOMPLETE|Failed to load/);
    const slow = slowly('/emoji/flux.gguf', 40);
    server.hooks.unshift(slow.hook);
    const cut = load(page).catch(() => 'cut');
    await expect.poll(async () => (await stored(page))[hashOf('flux.gguf')] ?? 0).toBeGreaterThan(2_000_000);
    await openPage(page, server);
    expect(await cut).toBe('cut');
    slow.go();
    await damage(page, hashOf('flux.gguf'), { at: 1_000_000, bytes: 10, value: 1 });
    const loaded = await load(page);
    expect(loaded.outcome).toBe('loaded');
    expect(loaded.warnings).toEqual([{ code: 'damaged', message: expect.stringMatching(/^flux\.gguf .*SHA-256.*downloaded again$/) }]);
  });

  const inPlace: Record<string, { body: string; type: string; says: RegExp }> = {
    'a Git LFS pointer': {
      body: `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 5854944\n`, type: 'text/plain',
      says: /^format: http:.*\/flux\.gguf is a Git LFS pointer, not the file/,
    },
    'a log-in page': {
      body: '<!DOCTYPE html><title>Log in</title>', type: 'text/html; charset=utf-8',
      says: /^missing-file: http:.*\/flux\.gguf: the server answered with a web page \(text\/html\)/,
    },
    'a page of the wrong type': {
      body: '<!DOCTYPE html><title>Log in</title>', type: 'application/octet-stream',
      says: /^missing-file: http:.*\/flux\.gguf is a web page, not the file/,
    },
  };
  for (const [what, { body, type, says }] of Object.entries(inPlace)) {
    for (const hashes of ['with', 'without']) {
      test(`${what} in place of weights is refused and not kept, ${hashes} hashes in model.json`, async ({ page }) => {
        if (hashes === 'without') {
          folders['/model/'] = variantOf((config) => { delete (config as { files?: unknown }).files; });
        } else {
          folders['/model/'] = EMOJI;
        }
        server.hooks.unshift(async (request, response) => {
          if (pathOf(request) !== '/model/flux.gguf') return false;
          await send(request, response, bytesContent(Buffer.from(body), type));
          return true;
        });
        expect((await load(page, { model: '/model/' })).outcome).toMatch(says);
        expect((await stored(page))[hashOf('flux.gguf')] ?? 0).toBe(0);
        server.hooks.shift();
        const again = await load(page, { model: '/model/' });
        expect(again.outcome).toBe('loaded');
        expect(again.warnings.filter(({ code }) => code === 'damaged')).toEqual([]);
      });
    }
  }
});

test('a new version of a model removes the old files, but not those of another cached model', async ({ page }) => {
  const space = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.from('\n')]);
  folders['/model/'] = EMOJI;
  await load(page, { model: '/model/' });
  folders['/model/'] = versionWith('tokenizer.json', space);
  await load(page, { model: '/model/' });
  const fresh = records(folders['/model/']);
  expect(await stored(page)).toEqual(Object.fromEntries(Object.values(fresh).map(({ sha256, bytes }) => [sha256, bytes])));
  // Two models share their weights: each file is there once, and stays as long as one of them.
  await load(page);
  expect(Object.values(await stored(page)).reduce((a, b) => a + b)).toBe(bytesOf(fresh) + (records()['tokenizer.json']?.bytes ?? 0));
  await page.evaluate(async () => {
    const { cachedModels, deleteCachedModel } = await import('/x2i/index.js');
    const [model] = (await cachedModels()).filter(({ name }) => name.endsWith('/model'));
    await deleteCachedModel(model?.name ?? '');
  });
  expect(Object.values(await stored(page)).reduce((a, b) => a + b)).toBe(MODEL);
  server.requests.length = 0;
  expect(await load(page)).toEqual({ outcome: 'loaded', warnings: [] });
  expect(downloads()).toEqual({});
});

test('cached models tell their bytes and their last use', async ({ page }) => {
  const before = Date.now();
  await load(page);
  const models = await page.evaluate(async () => (await import('/x2i/index.js')).cachedModels());
  expect(models).toEqual([{ name: expect.stringContaining('/emoji'), bytes: MODEL, lastUsed: expect.any(Number) }]);
  expect(models[0]?.lastUsed).toBeGreaterThanOrEqual(before);
  expect(models[0]?.lastUsed).toBeLessThanOrEqual(Date.now());
});

test('a model that is being downloaded can not be deleted, and the message says so', async ({ page }) => {
  const slow = slowly('/emoji/flux.gguf', 5);
  server.hooks.unshift(slow.hook);
  const loading = load(page);
  await expect.poll(() => slow.starts.length).toBe(1);
  const refused = await page.evaluate(async () => {
    const { cachedModels, deleteCachedModel } = await import('/x2i/index.js');
    const [model] = await cachedModels();
    return deleteCachedModel(model?.name ?? '').then(() => 'deleted', ({ code, message }) => `${code}: ${message}`);
  });
  expect(refused).toMatch(/^cache-unavailable: .* is being downloaded/);
  slow.go();
  expect((await loading).outcome).toBe('loaded');
});

test.describe('a full disk', () => {
  const limit = async (page: Page, quotaSize: number): Promise<void> => {
    const client = await page.context().newCDPSession(page);
    await client.send('Storage.overrideQuotaForOrigin', { origin: server.url, quotaSize });
  };

  test('costs one download a visit, and the warning says what is short', async ({ page }) => {
    const loaded = await load(page, { query: 'free=9000000', paint: true });
    expect(loaded.outcome).toBe('loaded');
    expect(loaded.warnings).toEqual([{ code: 'quota', message: expect.stringMatching(/store 9\.0 MB more, the model needs 16\.0 MB: .*free space/) }]);
    expect(downloads()).toEqual(ONCE);
    expect(Object.keys(await stored(page)), 'no part of what finds no room').not.toContain(hashOf('flux.gguf'));
  });

  test('is noticed in the middle of a file, which goes on in memory', async ({ page }) => {
    await limit(page, 9_000_000);
    const loaded = await load(page, { paint: true });
    expect(loaded.outcome).toBe('loaded');
    expect(loaded.warnings).toEqual([{ code: 'quota', message: expect.stringMatching(/^the browser has no room for \w+\.gguf/) }]);
    expect(downloads()).toEqual(ONCE);
  });

  test('offers to remove other models, and removes them where that is allowed', async ({ page }) => {
    folders['/q4/'] = convertedTo('q4_0');
    expect((await load(page)).outcome).toBe('loaded');
    await limit(page, 20_000_000);
    const refused = await load(page, { model: '/q4/' });
    expect(refused.warnings.map(({ code }) => code)).toEqual(['quota']);
    expect(refused.warnings[0]?.message).toMatch(/`evict: true`.*\/emoji \(16\.0 MB, last used \d{4}-\d\d-\d\d\)/);
    const evicted = await load(page, { model: '/q4/', evict: true });
    expect(evicted.warnings).toEqual([{ code: 'evicted', message: expect.stringMatching(/^removed .*\/emoji \(16\.0 MB/) }]);
    const models = await page.evaluate(async () => (await import('/x2i/index.js')).cachedModels());
    expect(models.map(({ name }) => name.replace(/.*\//, ''))).toEqual(['q4']);
    server.requests.length = 0;
    expect(await load(page, { model: '/q4/' })).toEqual({ outcome: 'loaded', warnings: [] });
    expect(downloads()).toEqual({});
  });
});

test('the browser is asked to keep the storage of large models, or where the page says so', async ({ page }) => {
  const asked = await page.evaluate(async () => {
    let asked = 0;
    StorageManager.prototype.persist = async () => { asked++; return true; };
    const { createPipeline, cachedModels, deleteCachedModel } = await import('/x2i/index.js');
    const counts = [];
    for (const persist of [undefined, true, true]) {
      (await createPipeline({ model: '/emoji/', device: 'cpu', ...(persist !== undefined && { persist }) })).close();
      for (const { name } of await cachedModels()) await deleteCachedModel(name);
      counts.push(asked);
    }
    return counts;
  });
  expect(asked, 'not for 16 MB, else once a page').toEqual([0, 1, 1]);
});

test('Cache Storage is read little more than once a visit', async ({ page }) => {
  const visit = () => page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    let read = { matches: 0, bodies: 0, bytes: 0 };
    const channel = new BroadcastChannel('x2i-test');
    channel.onmessage = ({ data }) => { read = data; };
    const began = performance.now();
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', workerUrl: '/workers/patched.js?no-opfs&count-reads' });
    const seconds = (performance.now() - began) / 1000;
    await new Promise((later) => setTimeout(later, 200));
    x2i.close();
    channel.close();
    return { ...read, seconds };
  });
  for (const name of ['first', 'second']) {
    const { matches, bytes, seconds } = await visit();
    console.log(`${name} visit: ${matches} matches, ${(bytes / 1e6).toFixed(1)} MB read, ready in ${seconds.toFixed(1)} s`);
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThan(2 * MODEL);
    expect(matches).toBeLessThan(150);
  }
});
