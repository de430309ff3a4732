/**
 * The runtime in a browser through the package's own interface: pictures equal to the native program's, downloads,
 * cache, aborts, queueing and failures, on the CPU. `webgpu.spec.ts` does the same on a GPU.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from './support/browser.ts';
import {
  decodePng, EMOJI, largestDifference, openPage, paintNatively, replayNatively, serveRuntime,
} from './support/runtime.ts';
import { bytesContent, type Hook, pathOf, type Server, send } from './support/server.ts';

/** The CPU computes the same in wasm and natively, but for the order of some sums. */
const CPU_GREY_LEVELS = 1;

let server: Server;
test.beforeEach(async ({ page }) => {
  server = await serveRuntime();
  await openPage(page, server);
});
test.afterEach(() => server.close());

const PROMPTS = {
  en: 'a red apple on a blue background',
  zh: '蓝色背景上的红苹果',
};

for (const [language, prompt] of Object.entries(PROMPTS)) {
  test(`a picture from a prompt in ${language} equals the native one and is replayed natively`, async ({ page }) => {
    const painted = await page.evaluate(async (prompt) => {
      const { createPipeline } = await import('/x2i/index.js');
      const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
      const { png, metadata, seed } = await x2i.generate({ prompt, seed: 7 }).result;
      const bytes = Array.from(new Uint8Array(await png.arrayBuffer()));
      return { bytes, metadata: { ...metadata, seed: Number(metadata.seed) }, seed: Number(seed) };
    }, prompt);
    const ours = decodePng(new Uint8Array(painted.bytes));
    expect(largestDifference(ours, paintNatively(prompt, 7))).toBeLessThanOrEqual(CPU_GREY_LEVELS);
    expect(painted.metadata).toMatchObject({ seed: 7, prompt: [{ text: prompt }], device: { id: 'cpu' } });
    const replayed = replayNatively(new Uint8Array(painted.bytes));
    expect(largestDifference(ours, replayed)).toBeLessThanOrEqual(CPU_GREY_LEVELS);
  });
}

test('the main thread runs the same picture through the same interface', async ({ page }) => {
  const same = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const pictures = [];
    for (const thread of ['worker', 'main'] as const) {
      const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', thread });
      const { image } = await x2i.generate({ prompt, seed: 3, output: 'pixels' }).result;
      pictures.push(image);
    }
    const [a, b] = pictures as [Uint8ClampedArray, Uint8ClampedArray];
    return a.length > 0 && a.every((value, index) => value === b[index]);
  }, PROMPTS.en);
  expect(same).toBe(true);
});

test('progress tells phases, steps and previews, and the last preview is the picture', async ({ page }) => {
  const heard = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const run = x2i.generate({ prompt, seed: 1, steps: 4, output: 'pixels' });
    const phases: string[] = [];
    const previews: number[] = [];
    let last: ImageData | undefined;
    for await (const progress of run) {
      if (phases.at(-1) !== progress.phase) phases.push(progress.phase);
      if (progress.preview) {
        previews.push(progress.step);
        last = progress.preview;
      }
    }
    const { image } = await run.result;
    const worst = image.reduce((worst, value, at) => Math.max(worst, Math.abs(value - (last?.data[at] ?? 999))), 0);
    return { phases, previews, worst };
  }, PROMPTS.en);
  expect(heard.phases).toEqual(['encode', 'denoise', 'decode']);
  expect(heard.previews.at(-1)).toBe(4);
  expect(heard.worst).toBeLessThanOrEqual(CPU_GREY_LEVELS);
});

test('the second visit downloads no weights, and works without a server', async ({ page }) => {
  const paint = (prompt: string) => page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const events: Array<{ cached?: boolean }> = [];
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', onProgress: (event) => events.push(event) });
    await x2i.generate({ prompt, seed: 1 }).result;
    x2i.close();
    return events.filter((event) => event.cached === false).length;
  }, prompt);
  expect(await paint(PROMPTS.en)).toBeGreaterThan(0);
  await page.reload();
  server.requests.length = 0;
  expect(await paint(PROMPTS.en)).toBe(0);
  expect(server.requests.filter(({ path }) => path.endsWith('.gguf'))).toEqual([]);

  const models = () => page.evaluate(async () => (await import('/x2i/index.js')).cachedModels());
  expect((await models()).map(({ bytes }) => bytes > 11_000_000)).toEqual([true]);
  // The browser keeps the page's scripts in memory; only the model's files are asked for again, and fail.
  server.hooks.unshift((request, response) => {
    if (!pathOf(request).startsWith('/emoji/')) return false;
    response.destroy();
    return true;
  });
  await expect(paint(PROMPTS.zh)).resolves.toBe(0);
  const name = (await models())[0]?.name as string;
  await page.evaluate(async (name) => (await import('/x2i/index.js')).deleteCachedModel(name), name);
  expect(await models()).toEqual([]);
});
test.describe('failed requests', () => {
  test.beforeEach(({ errors }) => errors.allow(/Failed to load resource|net::ERR/));

  test('a flipped byte is refused by the name of its shard, and is not kept', async ({ page }) => {
    const damage: Hook = async (request, response) => {
      if (pathOf(request) !== '/emoji/flux.gguf') return false;
      const bytes = readFileSync(join(EMOJI, 'flux.gguf'));
      bytes[3_000_000] = (bytes[3_000_000] as number) ^ 1;
      await send(request, response, bytesContent(bytes));
      return true;
    };
    server.hooks.unshift(damage);
    const load = () => page.evaluate(async () => {
      const { createPipeline } = await import('/x2i/index.js');
      return createPipeline({ model: '/emoji/', device: 'cpu' }).then(
        () => ({ code: 'loaded', message: '' }),
        ({ code, message }) => ({ code, message }),
      );
    });
    const failure = await load();
    expect(failure.code).toBe('integrity');
    expect(failure.message).toContain('flux.gguf');
    server.hooks.shift();
    expect((await load()).code).toBe('loaded');
  });

  test('a broken download goes on where it broke', async ({ page }) => {
    let breaks = 2;
    server.hooks.unshift((request, response) => breakHalfWay(request, response, () => breaks-- > 0));
    const loaded = await page.evaluate(async () => {
      const { createPipeline } = await import('/x2i/index.js');
      const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
      return x2i.model.name;
    });
    expect(loaded).toBe('emoji');
    const ranges = server.requests.filter(({ path, range }) => path === '/emoji/flux.gguf' && range);
    expect(ranges.length).toBeGreaterThanOrEqual(1);
    expect(ranges.every(({ range }) => !range?.startsWith('bytes=0-'))).toBe(true);
  });

  test('a missing file and a server error are told by URL', async ({ page }) => {
    const failures = await page.evaluate(async () => {
      const { createPipeline } = await import('/x2i/index.js');
      const codes = [];
      for (const model of ['/nowhere/', { name: 'partial', files: { 'model.json': '/emoji/model.json' } }]) {
        codes.push(await createPipeline({ model, device: 'cpu' }).then(() => 'loaded', ({ code }) => code));
      }
      return codes;
    });
    expect(failures).toEqual(['missing-file', 'missing-file']);
  });
});

/** Sends half of `flux.gguf` and drops the connection. */
async function breakHalfWay(request: IncomingMessage, response: ServerResponse, now: () => boolean): Promise<boolean> {
  if (pathOf(request) !== '/emoji/flux.gguf' || !now()) return false;
  const bytes = readFileSync(join(EMOJI, 'flux.gguf'));
  const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const range = start > 0 && { 'Content-Range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(range ? 206 : 200, { 'Content-Length': bytes.length - start, ...range });
  response.write(bytes.subarray(start, start + (bytes.length - start) / 2));
  setTimeout(() => response.destroy(), 300);
  return true;
}

test('an abort stops a download, which a later visit completes', async ({ page, errors }) => {
  errors.allow(/ERR_ABORTED/);
  const starts: number[] = [];
  const slow: Hook = async (request, response) => {
    if (pathOf(request) !== '/emoji/flux.gguf') return false;
    const bytes = readFileSync(join(EMOJI, 'flux.gguf'));
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    starts.push(start);
    if (starts.length > 1) return false;
    response.writeHead(200, { 'Content-Length': bytes.length });
    for (let at = 0; !response.destroyed && at < bytes.length; at += 65_536) {
      response.write(bytes.subarray(at, at + 65_536));
      await new Promise((later) => setTimeout(later, 100));
    }
    return true;
  };
  server.hooks.unshift(slow);
  const aborted = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const controller = new AbortController();
    let [at, told] = [0, 0];
    const onProgress = ({ file, phase }: { file?: string; phase: string }) => {
      if (phase !== 'download' || file !== 'flux.gguf' || ++told !== 5) return;
      at = performance.now();
      controller.abort('enough');
    };
    const failure = await createPipeline({ model: '/emoji/', device: 'cpu', onProgress, signal: controller.signal })
      .then(() => undefined, (error) => error);
    return { code: failure?.code, cause: failure?.cause, after: performance.now() - at };
  });
  expect(aborted).toMatchObject({ code: 'aborted', cause: 'enough' });
  expect(aborted.after).toBeLessThan(1000);
  const model = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    return (await createPipeline({ model: '/emoji/', device: 'cpu' })).model.name;
  });
  expect(model).toBe('emoji');
  expect(starts).toEqual([0, expect.any(Number)]);
  expect(starts[1]).toBeGreaterThan(0);
});

test('a download that stalls before its first byte is told by its file, and can be aborted', async ({ page, errors }) => {
  errors.allow(/ERR_ABORTED/);
  server.hooks.unshift((request, response) => {
    if (pathOf(request) !== '/emoji/flux.gguf') return false;
    response.writeHead(200, { 'Content-Length': 1_000_000 }).flushHeaders();
    return true; // and no more
  });
  const code = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const controller = new AbortController();
    const onProgress = ({ file }: { file?: string }) => { if (file === 'flux.gguf') controller.abort(); };
    return createPipeline({ model: '/emoji/', device: 'cpu', onProgress, signal: controller.signal })
      .then(() => 'loaded', (error) => error.code);
  });
  expect(code).toBe('aborted');
});

test('an abort stops painting within a block, and the next picture is the same as ever', async ({ page }) => {
  const result = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const options = { prompt, seed: 5, output: 'pixels' } as const;
    const before = (await x2i.generate(options).result).image;
    const controller = new AbortController();
    // Enough steps that the picture would take long.
    const run = x2i.generate({ ...options, steps: 1000, preview: false, signal: controller.signal });
    let at = 0;
    let blocks = 0;
    let code = '';
    try {
      for await (const { phase, done } of run) {
        if (phase === 'denoise' && done > 0 && !at) {
          at = performance.now();
          controller.abort();
        }
        if (at) blocks++;
      }
    } catch (error) {
      code = (error as { code: string }).code;
    }
    const after = performance.now() - at;
    const again = (await x2i.generate(options).result).image;
    const waited = performance.now() - at;
    return { code, after, waited, blocks, same: before.every((value, index) => value === again[index]) };
  }, PROMPTS.en);
  console.log(`abort: rejected after ${result.after.toFixed(0)} ms; next picture after ${result.waited.toFixed(0)} ms`);
  expect(result).toMatchObject({ code: 'aborted', same: true });
  expect(result.after).toBeLessThan(200);
});

test('calls wait for each other, and one that is aborted while it waits disturbs nobody', async ({ page }) => {
  const result = await page.evaluate(async (prompts) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const order: string[] = [];
    const controller = new AbortController();
    const calls = prompts.map((prompt, index) => {
      const signal = index === 1 ? controller.signal : undefined;
      const run = x2i.generate({ prompt, seed: index, output: 'pixels', ...(signal && { signal }) });
      return run.result.then(
        ({ seed }) => order.push(`done ${seed}`),
        ({ code }) => order.push(code),
      );
    });
    controller.abort();
    await Promise.all(calls);
    return order;
  }, [PROMPTS.en, PROMPTS.zh, PROMPTS.en]);
  expect(result).toEqual(['aborted', 'done 0', 'done 2']);
});

test('twenty pictures in a row leave no memory behind', async ({ page }) => {
  const client = await page.context().newCDPSession(page);
  await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    Object.assign(globalThis, {
      paint: async (count: number) => {
        for (let seed = 0; seed < count; seed++) await x2i.generate({ prompt, seed, output: 'pixels' }).result;
      },
    });
  }, PROMPTS.en);
  const paint = (count: number) => page.evaluate((count) => (globalThis as never as { paint: (n: number) => Promise<void> }).paint(count), count);
  const heap = async () => {
    await client.send('HeapProfiler.collectGarbage');
    return (await client.send('Runtime.getHeapUsage')).usedSize;
  };
  const workerMemory = async () => {
    const worker = page.workers().at(-1);
    return worker?.evaluate(() => (performance as never as { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize ?? 0);
  };
  await paint(3);
  const before = { page: await heap(), worker: await workerMemory() };
  await paint(20);
  const after = { page: await heap(), worker: await workerMemory() };
  console.log(`JS heap: page ${before.page} -> ${after.page}, worker ${before.worker} -> ${after.worker} bytes`);
  expect(after.page - before.page).toBeLessThan(500_000);
});

test('requests that can not be painted are refused by field', async ({ page }) => {
  const codes = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const refused = async (options: object) => {
      const failure = await x2i.generate({ prompt, ...options }).result.then(() => 'painted', (error) => error);
      return `${failure.code}: ${failure.message}`;
    };
    const image = new ImageData(32, 32);
    return [
      await refused({ width: 100 }),
      await refused({ steps: 0 }),
      await refused({ seed: -1 }),
      await refused({ seed: 1.5 }),
      await refused({ guidance: Number.NaN }),
      await refused({ cache: -0.1 }),
      await refused({ cache: 'on' }),
      await refused({ prompt: '  ' }),
      await refused({ init: { image, strength: 0 } }),
    ];
  }, PROMPTS.en);
  const expected = [/^request: .*width/, /^request: .*steps/, /^request: seed/, /^request: seed/, /^request: guidance/,
    /^request: cache: -0.1 must/, /^request: cache must/, /^request: prompt/, /^request: .*strength/];
  codes.forEach((code, index) => expect(code).toMatch(expected[index] as RegExp));
  expect(codes.join(), 'no words of the command line').not.toMatch(/--\w/);
});

test.describe('poorer browsers', () => {
  const load = async (page: import('@playwright/test').Page, query: string) =>
    page.evaluate(async ({ query, prompt }) => {
      const { createPipeline } = await import('/x2i/index.js');
      const warnings: string[] = [];
      let downloaded = 0;
      const x2i = await createPipeline({
        model: '/emoji/', device: 'cpu', workerUrl: `/workers/patched.js?${query}`,
        onWarning: ({ code }) => warnings.push(code),
        onProgress: ({ cached }) => { if (cached === false) downloaded++; },
      });
      const { image } = await x2i.generate({ prompt, seed: 1, output: 'pixels' }).result;
      x2i.close();
      return { warnings, downloaded, painted: image.length > 0 };
    }, { query, prompt: PROMPTS.en });

  test('without OPFS the model is kept in Cache Storage', async ({ page }) => {
    expect(await load(page, 'no-opfs')).toMatchObject({ warnings: [], painted: true });
    expect(await load(page, 'no-opfs')).toMatchObject({ warnings: [], painted: true, downloaded: 0 });
  });

  test('without any storage the model is held in memory, with a warning', async ({ page }) => {
    const loaded = await load(page, 'no-cache');
    expect(loaded).toMatchObject({ warnings: ['cache-unavailable'], painted: true });
  });

  test('a full disk costs the next visit and nothing else', async ({ page }) => {
    const client = await page.context().newCDPSession(page);
    await client.send('Storage.overrideQuotaForOrigin', { origin: server.url, quotaSize: 4_000_000 });
    const loaded = await load(page, '');
    expect(loaded.painted).toBe(true);
    expect(loaded.warnings).toContain('quota');
  });
});
