/** Inputs of every kind that a page has: each image source gives the picture that its file gives; and several images. */

import { expect, test } from './support/browser.ts';
import { openPage, serveRuntime } from './support/runtime.ts';
import { bytesContent, contentAt, type Server } from './support/server.ts';

let server: Server;
test.beforeEach(async ({ page }) => {
  server = await serveRuntime();
  await openPage(page, server);
});
test.afterEach(() => server.close());

test('elements, canvases, frames, addresses, responses and bytes all mean the same image', async ({ page }) => {
  const png = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(64, 64);
    const context = canvas.getContext('2d') as OffscreenCanvasRenderingContext2D;
    context.fillStyle = '#2050e0';
    context.fillRect(0, 0, 64, 64);
    context.fillStyle = '#e02020';
    context.fillRect(16, 16, 32, 32);
    return [...new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer())];
  });
  server.hooks.unshift(contentAt('/photo.png', bytesContent(Buffer.from(png), 'image/png')));
  const { same, names } = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const file = await (await fetch('/photo.png')).blob();
    const element = Object.assign(new Image(), { src: '/photo.png' });
    await element.decode();
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    canvas.getContext('2d')?.drawImage(element, 0, 0);
    const offscreen = new OffscreenCanvas(64, 64);
    offscreen.getContext('2d')?.drawImage(element, 0, 0);
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'image');
    svg.setAttribute('href', '/photo.png');
    svg.setAttribute('width', '64');
    svg.setAttribute('height', '64');
    await new Promise((loaded) => {
      svg.onload = loaded;
      const drawing = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      drawing.append(svg);
      document.body.append(drawing);
    });
    const sources: Record<string, any> = {
      blob: file,
      image: element,
      svg,
      canvas,
      offscreen,
      bitmap: await createImageBitmap(file),
      frame: new VideoFrame(canvas, { timestamp: 0 }),
      path: '/photo.png',
      url: new URL('/photo.png', location.href),
      response: await fetch('/photo.png'),
      buffer: await file.arrayBuffer(),
      bytes: new Uint8Array(await file.arrayBuffer()),
    };
    const same: Record<string, boolean> = {};
    const names: Record<string, string> = {};
    let first: Uint8ClampedArray | undefined;
    for (const [kind, image] of Object.entries(sources)) {
      const { image: pixels, metadata } = await x2i.generate({ prompt: [{ image }], seed: 1, steps: 1, output: 'pixels' }).result;
      first ??= pixels;
      same[kind] = pixels.every((value, at) => Math.abs(value - (first?.[at] as number)) <= 1);
      names[kind] = (metadata.prompt[0] as { image: { file: string } }).image.file;
    }
    return { same, names };
  });
  expect(Object.entries(same).filter(([, equal]) => !equal)).toEqual([]);
  expect(Object.keys(same)).toHaveLength(12);
  expect(names).toMatchObject({ path: 'photo.png', url: 'photo.png', response: 'photo.png', image: 'image-1' });
});

test('sources that can not be read are told with their place, and what to do', async ({ page, errors }) => {
  errors.allow(/CORS|ERR_FAILED|404/);
  const other = await serveRuntime([contentAt('/other.svg', bytesContent(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'), 'image/svg+xml'))]);
  const told = await page.evaluate(async (other) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const foreign = Object.assign(new Image(), { src: `${other}/other.svg` });
    const images: any[] = ['/missing.png', `${other}/other.svg`, foreign, new Image(), 'http://', await fetch('/missing.png'), document.createElement('video'), new Uint8Array([1, 2])];
    const told = [];
    for (const image of images) {
      const failure = await x2i.generate({ prompt: ['like this:', { image }], seed: 1 }).result.then(() => ({ code: 'painted', message: '' }), (error) => error);
      told.push(`${failure.code}: ${failure.message}`);
    }
    const video = await x2i.generate({ prompt: [{ video: document.createElement('video') }] }).result.catch((error) => error);
    told.push(`${video.code}: ${video.message}`);
    return told;
  }, other.url);
  expect(told).toEqual([
    expect.stringMatching(/^image: image 2 of the prompt: http:\S+\/missing\.png answers 404$/),
    expect.stringMatching(/^image: image 2 of the prompt: http:\S+\/other\.svg can't be fetched: .*Access-Control-Allow-Origin$/),
    expect.stringMatching(/^image: image 2 of the prompt: the element shows an image of another origin; .*crossorigin/),
    expect.stringMatching(/^image: image 2 of the prompt: the element shows no image/),
    'request: image 2 of the prompt: http:// is not a URL',
    expect.stringMatching(/^image: image 2 of the prompt: http:\S+\/missing\.png answers 404$/),
    expect.stringMatching(/^image: image 2 of the prompt: the element shows nothing/),
    expect.stringMatching(/^image: /),
    expect.stringMatching(/^video: video 1 of the prompt: the element plays no file/),
  ]);
  await other.close();
});

test('an element that plays a sound is its file', async ({ page }) => {
  const wav = Buffer.alloc(44 + 32_000);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + 32_000, 4);
  wav.write('WAVEfmt ', 8);
  for (const [at, value, bytes] of [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, 16_000, 4], [28, 32_000, 4], [32, 2, 2], [34, 16, 2]] as const) wav.writeUIntLE(value, at, bytes);
  wav.write('data', 36);
  wav.writeUInt32LE(32_000, 40);
  for (let at = 0; at < 16_000; at++) wav.writeInt16LE(Math.round(9000 * Math.sin(at / 5)), 44 + 2 * at);
  server.hooks.unshift(contentAt('/beep.wav', bytesContent(wav, 'audio/wav')));
  const names = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const names = [];
    for (const audio of ['/beep.wav', Object.assign(new Audio(), { src: '/beep.wav' })]) {
      const { metadata } = await x2i.generate({ prompt: [{ audio }], seed: 1, steps: 1 }).result;
      names.push((metadata.prompt[0] as { audio: { file: string; sha256: string } }).audio);
    }
    return names;
  });
  expect(names[0]?.file).toBe('beep.wav');
  expect(names[1]).toEqual(names[0]);
});

test('numImages generates the seeds that follow, each as alone', async ({ page }) => {
  const { seeds, equal, indices, own, closed } = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const image = new ImageData(32, 32);
    const prompt = [{ image: await createImageBitmap(image) }, 'a red apple'];
    const options = { prompt, steps: 2, output: 'pixels' } as const;
    const run = x2i.generate({ ...options, seed: 2 ** 53 - 2, numImages: 3 });
    const indices = new Set<string>();
    for await (const { index, numImages } of run) indices.add(`${index}/${numImages}`);
    const result = await run.result;
    const alone = await x2i.generate({ ...options, seed: 2n ** 53n }).result;
    x2i[Symbol.dispose]();
    const closed = await x2i.generate(options).result.catch(({ code }) => code);
    return {
      closed,
      seeds: result.images.map(({ seed }) => String(seed)),
      equal: alone.image.every((value, at) => value === result.images[2]?.image[at]),
      indices: [...indices],
      own: result.image === result.images[0]?.image,
    };
  });
  expect(seeds).toEqual(['9007199254740990', '9007199254740991', '9007199254740992']);
  expect({ equal, own, closed }).toEqual({ equal: true, own: true, closed: 'closed' });
  expect(indices).toEqual(['0/3', '1/3', '2/3']);
});
