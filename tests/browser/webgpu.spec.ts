/**
 * The runtime on WebGPU (SwiftShader, a GPU emulated on the CPU: right, and slow): pictures, limits, device loss,
 * buffers, and a model that is larger than wasm's memory.
 */

import { expect, test } from './support/browser.ts';
import { largeModel } from './support/large-model.ts';
import {
  convertedTo, decodePng, largestDifference, openPage, paintNatively, psnr, replayNatively, serveRuntime,
} from './support/runtime.ts';
import type { Server } from './support/server.ts';

/** A GPU's `exp` and summation order differ from the CPU's. */
const GPU_GREY_LEVELS = 2;
const PROMPTS = { en: 'a red apple on a blue background', zh: '蓝色背景上的红苹果' };

let server: Server;
test.beforeEach(async ({ page }) => {
  test.setTimeout(600_000);
  server = await serveRuntime();
  await openPage(page, server);
});
test.afterEach(() => server.close());

test('a software adapter is used only by name', async ({ page }) => {
  const devices = await page.evaluate(async () => {
    const { createPipeline, listDevices } = await import('/x2i/index.js');
    const auto = (await createPipeline({ model: '/emoji/' })).device;
    return { auto, all: await listDevices() };
  });
  expect(devices.auto.kind).toBe('cpu');
  expect(devices.all.map(({ kind, software }) => [kind, software])).toEqual([['cpu', false], ['webgpu', true]]);
  expect(devices.all[1]?.subgroups).toBe(true);
});

test('pictures in two languages equal the native ones', async ({ page }) => {
  const painted = await page.evaluate(async (prompts) => {
    const { createPipeline } = await import('/x2i/index.js');
    const began = performance.now();
    const x2i = await createPipeline({ model: '/emoji/', device: 'webgpu' });
    const pictures = [];
    for (const prompt of prompts) {
      const { png, timings } = await x2i.generate({ prompt, seed: 7 }).result;
      pictures.push({ png: Array.from(new Uint8Array(await png.arrayBuffer())), timings, at: performance.now() - began });
    }
    return { device: x2i.device, pictures };
  }, Object.values(PROMPTS));
  console.log(`${painted.device.name}: pictures after ${painted.pictures.map(({ at }) => `${(at / 1000).toFixed(1)} s`).join(', ')}`);
  expect(painted.device).toMatchObject({ kind: 'webgpu', software: true });
  for (const [index, prompt] of Object.values(PROMPTS).entries()) {
    const png = new Uint8Array(painted.pictures[index]?.png as number[]);
    expect(largestDifference(decodePng(png), paintNatively(prompt, 7))).toBeLessThanOrEqual(GPU_GREY_LEVELS);
    expect(largestDifference(decodePng(png), replayNatively(png))).toBeLessThanOrEqual(GPU_GREY_LEVELS);
  }
});

test('a GPU of wide units, where burn multiplies matrices, paints the same picture', async ({ page }) => {
  const painted = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({
      model: '/emoji/', device: 'webgpu', workerUrl: '/workers/patched.js?wide-units',
    });
    // One step: every kernel runs in it.
    const { png } = await x2i.generate({ prompt, seed: 7, steps: 1, preview: false }).result;
    return Array.from(new Uint8Array(await png.arrayBuffer()));
  }, PROMPTS.en);
  const picture = decodePng(Uint8Array.from(painted));
  expect(largestDifference(picture, paintNatively(PROMPTS.en, 7, 1))).toBeLessThanOrEqual(GPU_GREY_LEVELS);
});

/** A device that ends in the middle of a picture, and the next picture. */
const ENDS = [
  { how: 'destroy', name: 'a lost device', code: 'device-lost', message: /^the GPU failed: / },
  { how: 'fill', name: 'a full GPU', code: 'device-limit', message: /^the GPU failed: its memory is full; set maxDeviceMemory/ },
];
for (const { how, name, code, message } of ENDS) {
  test(`${name} rejects the running call, and the next call works`, async ({ page, errors }) => {
    errors.allow(/device was lost|Device.*destroyed|unreachable|RuntimeError/i);
    const result = await page.evaluate(async ([prompt, how]) => {
      const { createPipeline } = await import('/x2i/index.js');
      const channel = new BroadcastChannel('x2i-test');
      const x2i = await createPipeline({
        model: '/emoji/', device: 'webgpu', workerUrl: '/workers/patched.js?gpu-buffers',
      });
      const run = x2i.generate({ prompt, seed: 7, output: 'pixels' });
      let failure = { code: '', message: '' };
      let told = 0;
      try {
        for await (const { phase } of run) {
          if (phase === 'denoise' && !told++) channel.postMessage(how);
        }
      } catch (error) {
        const { code, message } = error as { code: string; message: string };
        failure = { code, message };
      }
      const again = await x2i.generate({ prompt, seed: 7, steps: 1, output: 'pixels' }).result;
      return { failure, pixels: again.image.length };
    }, [PROMPTS.en, how] as const);
    expect(result.failure.code).toBe(code);
    expect(result.failure.message).toMatch(message);
    expect(result.pixels).toBeGreaterThan(0);
  });
}

test('an adapter that is too small is refused by the name and value of its limit', async ({ page }) => {
  const refusals = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const limits = { maxComputeWorkgroupStorageSize: 8192, maxStorageBufferBindingSize: 100_000 };
    const messages: string[] = [];
    for (const [limit, value] of Object.entries(limits)) {
      const workerUrl = `/workers/patched.js?small-limits=${limit}&value=${value}`;
      const failure = await createPipeline({ model: '/emoji/', device: 'webgpu', workerUrl }).then(
        () => ({ code: 'loaded', message: '' }), (error) => error);
      messages.push(`${failure.code}: ${failure.message}`);
    }
    return messages;
  });
  expect(refusals[0]).toMatch(/^device-limit: .*maxComputeWorkgroupStorageSize is 8192/);
  expect(refusals[1]).toMatch(/^device-limit: .*\.gguf: tensor `.*maxStorageBufferBindingSize is 100000/);
});

test('weights of f16 take half of the GPU memory of f32, and paint the same picture', async ({ page }) => {
  const loaded = [];
  for (const precision of ['f32', 'f16']) {
    const served = await serveRuntime([], { '/converted/': convertedTo(precision) });
    await openPage(page, served);
    const { bytes, png } = await page.evaluate(async (prompt) => {
      const { createPipeline } = await import('/x2i/index.js');
      const channel = new BroadcastChannel('x2i-test');
      const count = new Promise<{ bytes: number }>((resolve) => {
        channel.onmessage = ({ data }) => resolve(data);
      });
      const x2i = await createPipeline({
        model: '/converted/', device: 'webgpu', cache: 'none', workerUrl: '/workers/patched.js?gpu-buffers',
      });
      channel.postMessage('count');
      const { bytes } = await count;
      const { png } = await x2i.generate({ prompt, seed: 7, preview: false }).result;
      return { bytes, png: Array.from(new Uint8Array(await png.arrayBuffer())) };
    }, PROMPTS.en);
    await served.close();
    loaded.push({ bytes, picture: decodePng(Uint8Array.from(png)) });
  }
  const [full, half] = loaded as [typeof loaded[0], typeof loaded[0]];
  const decibels = psnr(full.picture, half.picture);
  console.log(`weights on the GPU: f32 ${full.bytes}, f16 ${half.bytes} bytes; ${decibels.toFixed(1)} dB`);
  expect(half.bytes).toBeLessThan(0.6 * full.bytes);
  expect(decibels).toBeGreaterThan(40);
});

test('twenty pictures in a row leave no GPU buffers behind', async ({ page }) => {
  const counts = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const channel = new BroadcastChannel('x2i-test');
    const count = () => new Promise<{ buffers: number; bytes: number }>((resolve) => {
      channel.onmessage = ({ data }) => resolve(data);
      channel.postMessage('count');
    });
    const x2i = await createPipeline({
      model: '/emoji/', device: 'webgpu', workerUrl: '/workers/patched.js?gpu-buffers',
    });
    // One step: a picture's buffers are all used once.
    const paint = (seed: number) => x2i.generate({ prompt, seed, steps: 1, preview: false, output: 'pixels' }).result;
    const counts = [];
    for (let seed = 0; seed < 23; seed++) {
      await paint(seed);
      if (seed % 5 === 2) counts.push(await count());
    }
    return counts;
  }, PROMPTS.en);
  console.log(`GPU buffers after 3, 8, 13, 18 and 23 pictures: ${JSON.stringify(counts)}`);
  const before = counts[0]?.bytes;
  const after = counts.at(-1)?.bytes;
  expect(after).toBeLessThanOrEqual((before as number) * 1.02);
});

test('a model larger than the GPU is streamed from the cache, with a warning', async ({ page }) => {
  const painted = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const paint = async (workerUrl: string, maxDeviceMemory?: string) => {
      const warnings: string[] = [];
      const x2i = await createPipeline({
        model: '/emoji/', device: 'webgpu', workerUrl, onWarning: ({ code, message }) => warnings.push(`${code}: ${message}`),
        ...(maxDeviceMemory && { maxDeviceMemory }),
      });
      const { image } = await x2i.generate({ prompt, seed: 7, steps: 1, preview: false, output: 'pixels' }).result;
      x2i.close();
      return { warnings, pixels: Array.from(image) };
    };
    return {
      whole: await paint('/x2i/worker.js'),
      // A GPU whose largest buffer is known to hold no more than half of the model.
      small: await paint('/workers/patched.js?small-limits=maxBufferSize&value=4194304'),
      asked: await paint('/x2i/worker.js', '8M'),
    };
  }, PROMPTS.en);
  expect(painted.whole.warnings).toEqual([]);
  expect(painted.small.warnings).toHaveLength(1);
  expect(painted.small.warnings[0]).toMatch(
    /^streamed: emoji is larger than the 8 MiB .* read from the browser's files \(OPFS\) in every step; maxDeviceMemory/);
  expect(painted.asked.warnings).toEqual([]);
  expect(painted.small.pixels).toEqual(painted.whole.pixels);
  expect(painted.asked.pixels).toEqual(painted.whole.pixels);
});

test('a model larger than wasm memory is loaded by ranges', async ({ page }) => {
  const model = await largeModel();
  server.hooks.push(...model.hooks('/large/'));
  expect(model.bytes).toBeGreaterThan(4 * 1024 ** 3);
  const loaded = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const began = performance.now();
    const warnings = new Set<string>();
    const x2i = await createPipeline({
      model: '/large/', device: 'webgpu', cache: 'none', maxDeviceMemory: '8GB', onWarning: ({ code }) => warnings.add(code),
    });
    x2i.close();
    return { name: x2i.model.name, seconds: (performance.now() - began) / 1000, warnings: [...warnings] };
  });
  console.log(`${(model.bytes / 1e9).toFixed(2)} GB loaded in ${loaded.seconds.toFixed(0)} s`);
  expect(loaded).toMatchObject({ name: 'large', warnings: ['unverified'] });
  const ranges = server.requests.filter(({ path }) => path === '/large/flux.gguf').map(({ range }) => range ?? '');
  const largest = Math.max(...ranges.map((range) => {
    const [, start, end] = /bytes=(\d+)-(\d+)/.exec(range) ?? [];
    return Number(end) - Number(start);
  }));
  expect(largest).toBeLessThan(256 * 1024 ** 2);
});
