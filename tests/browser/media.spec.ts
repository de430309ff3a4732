/**
 * What a prompt may show, and what may stand beside it, through the package's own interface: pictures, videos, sounds,
 * turns, a first picture, LoRAs and LightControl. Pictures must equal those that the native program makes of the same
 * files.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from './support/browser.ts';
import {
  hasFfmpeg, temporaryFolder, writeClearPng, writeControl, writeLora, writePng, writeTurnedJpeg, writeVideo, writeWav,
} from './support/media.ts';
import { type Case, paintCaseNatively, paintInPage } from './support/prompts.ts';
import { EMOJI, largestDifference, modalities, nativeEvent, openPage, serveRuntime, variantOf } from './support/runtime.ts';
import type { Server } from './support/server.ts';

/** Decoders and the order of sums differ a little. */
const GREY_LEVELS = 2;
const APPLE = 'a red apple on a blue background';
/** The width of the embedded model's transformer. */
const { num_attention_heads: HEADS, attention_head_dim: HEAD_DIM } = JSON.parse(
  readFileSync(join(EMOJI, 'model.json'), 'utf8'),
).flux.config;

/** The embedded model; where it was not trained to see, its untrained tower shows that pictures arrive. */
const sees = variantOf(({ defaults }) => {
  if (!modalities().includes('image')) defaults.modalities = ['text', 'image'];
});
const blind = variantOf((config) => {
  config.name = 'blind';
  config.defaults.modalities = ['text'];
});
/** Never sure enough, and one that need not be. */
const unsure = variantOf(({ defaults }) => void (defaults.certainty = { least: 1, tokens: 99 }));
const free = variantOf(({ defaults }) => void delete defaults.certainty);
/** One to whom a known answer says that it does not know. */
const unknowing = variantOf(({ defaults }) => void (defaults.unknown = { prefix: 'red ', until: ' on a ' }));
/** One that is shown what was said before. */
const remembers = variantOf(({ defaults }) => void delete defaults.earlier_turns);
const hears = modalities().includes('audio');

const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);
let server: Server;

test.beforeAll(() => {
  writePng(file('disc.png'));
  writeClearPng(file('clear.png'));
  writePng(file('other.png'), [240, 220, 60], [20, 120, 40]);
  writeWav(file('tone.wav'));
  // Long enough that lengths times rates leave 32 bits.
  writeWav(file('tone-44.wav'), 44_100, 12);
  writeLora(file('ink.safetensors'), HEADS * HEAD_DIM);
  writeLora(file('wrong.safetensors'), HEADS * HEAD_DIM - 1);
  mkdirSync(file('peft'));
  writeLora(file('peft/adapter_model.safetensors'), HEADS * HEAD_DIM);
  // Twice the strength that the file alone has.
  writeFileSync(file('peft/adapter_config.json'), JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 4 }));
  writeFileSync(file('vera.json'), JSON.stringify({ peft_type: 'VERA' }));
  writeControl(file('control.safetensors'), HEADS * HEAD_DIM);
  writeFileSync(file('text.mp4'), 'this is no video');
  writeFileSync(file('text.wav'), 'this is no sound');
  writeFileSync(file('text.png'), 'this is no picture');
  if (!hasFfmpeg()) return;
  writeTurnedJpeg(file('turned.jpg'));
  writeVideo(file('moving.gif'), '-vf', 'fps=10');
  writeVideo(file('moving.mp4'), '-pix_fmt', 'yuv420p');
  writeVideo(file('moving.webm'), '-c:v', 'libvpx-vp9');
});
test.beforeEach(async ({ page }) => {
  server = await serveRuntime([], { '/sees/': sees, '/blind/': blind, '/remembers/': remembers, '/unsure/': unsure, '/free/': free, '/unknowing/': unknowing });
  await openPage(page, server);
});
test.afterEach(() => server.close());

/** Cases whose pictures must be the native ones. */
const EQUAL: Record<string, Case> = {
  'a picture': { prompt: [{ image: file('disc.png') }] },
  'a transparent picture': { prompt: [{ image: file('clear.png') }] },
  'a transparent picture on black': { prompt: [{ image: file('clear.png') }], background: 'black' },
  'a first picture that is transparent': { prompt: [APPLE], init: { image: file('clear.png'), strength: 0.5 } },
  'pictures between words': { prompt: ['first', { image: file('disc.png') }, 'then', { image: file('other.png') }] },
  'words whose answer paints': { prompt: [APPLE], conditioning: 'answer' },
  'a first picture': { prompt: [APPLE], init: { image: file('disc.png'), strength: 0.5 } },
  'a LoRA': { prompt: [APPLE], lora: { data: file('ink.safetensors'), scale: 200 } },
  'a LoRA of PEFT': {
    prompt: [APPLE],
    lora: { data: file('peft/adapter_model.safetensors'), config: file('peft/adapter_config.json'), scale: 100 },
  },
  'a control': {
    prompt: [APPLE],
    control: { image: file('disc.png'), scale: 90, weights: file('control.safetensors') },
  },
};
for (const [name, asked] of Object.entries(EQUAL)) {
  test(`${name}: the picture equals the native one`, async ({ page }) => {
    const { picture, error } = await paintInPage(page, server, '/sees/', asked);
    expect(error).toBeUndefined();
    expect(picture && largestDifference(picture, paintCaseNatively(sees, asked))).toBeLessThanOrEqual(GREY_LEVELS);
  });
}

for (const beside of ['a first picture', 'a LoRA', 'a control']) {
  test(`${beside} changes the picture and is recorded`, async ({ page }) => {
    const asked = EQUAL[beside] as Case;
    const { picture, metadata } = await paintInPage(page, server, '/sees/', asked);
    const plain = await paintInPage(page, server, '/sees/', { prompt: asked.prompt });
    expect(picture && plain.picture && largestDifference(picture, plain.picture)).toBeGreaterThan(8);
    const [kind = '', record] = Object.entries(metadata ?? {}).find(([key]) => ['init', 'loras', 'control'].includes(key)) ?? [];
    expect(`${kind} ${JSON.stringify(record)}`).toMatch(/disc\.png|ink\.safetensors/);
  });
}

test('a background is recorded, and white is not', async ({ page }) => {
  const prompt = [{ image: file('clear.png') }];
  const black = await paintInPage(page, server, '/sees/', { prompt, background: 'black' });
  const white = await paintInPage(page, server, '/sees/', { prompt, background: 'white' });
  expect(black.metadata?.['background']).toBe('000000');
  expect(white.metadata && 'background' in white.metadata).toBe(false);
  expect(black.picture && white.picture && largestDifference(black.picture, white.picture)).toBeGreaterThan(GREY_LEVELS);
});

test('PEFT’s config is recorded, and changes the strength', async ({ page }) => {
  const asked = EQUAL['a LoRA of PEFT'] as Case & { lora: { data: string } };
  const { config: _, ...bare } = asked.lora as { data: string; config: string; scale: number };
  const { picture, metadata } = await paintInPage(page, server, '/sees/', asked);
  const other = await paintInPage(page, server, '/sees/', { ...asked, lora: bare });
  expect(metadata?.['loras']).toMatchObject([{ config: { file: 'adapter_config.json' } }]);
  expect(picture && other.picture && largestDifference(picture, other.picture)).toBeGreaterThan(GREY_LEVELS);
});

test('the answer is told before the picture is painted', async ({ page }) => {
  const { answer, told } = await paintInPage(page, server, '/sees/', { prompt: [APPLE], conditioning: 'answer' });
  expect(answer).toContain('apple');
  expect(told).toEqual([answer]);
});

test('a photograph is turned as its EXIF says', async ({ page }) => {
  test.skip(!hasFfmpeg(), 'ffmpeg makes the photograph');
  const asked: Case = { prompt: [{ image: file('turned.jpg') }] };
  const { picture, error } = await paintInPage(page, server, '/sees/', asked);
  expect(error).toBeUndefined();
  expect(picture && largestDifference(picture, paintCaseNatively(sees, asked))).toBeLessThanOrEqual(GREY_LEVELS);
});

test('an animated GIF is looked at as natively', async ({ page }) => {
  test.skip(!hasFfmpeg(), 'ffmpeg makes the video');
  const asked: Case = { prompt: [{ video: file('moving.gif') }, 'on green'] };
  const { picture, error, metadata } = await paintInPage(page, server, '/sees/', asked);
  expect(error).toBeUndefined();
  expect(picture && largestDifference(picture, paintCaseNatively(sees, asked))).toBeLessThanOrEqual(GREY_LEVELS);
  expect(JSON.stringify(metadata?.['prompt'])).toContain('moving.gif');
});

test('a video is looked at as often as asked for', async ({ page }) => {
  test.skip(!hasFfmpeg(), 'ffmpeg makes the video');
  const asked: Case = { prompt: [{ video: file('moving.gif') }], videoFps: 4 };
  const { picture, error, metadata } = await paintInPage(page, server, '/sees/', asked);
  expect(error).toBeUndefined();
  expect(picture && largestDifference(picture, paintCaseNatively(sees, asked))).toBeLessThanOrEqual(GREY_LEVELS);
  expect(metadata?.['prompt']).toMatchObject([{ video: { fps: 4 } }]);
});

for (const format of ['mp4', 'webm']) {
  test(`a video is decoded from ${format}`, async ({ page }) => {
    test.skip(!hasFfmpeg(), 'ffmpeg makes the video');
    const asked: Case = { prompt: [{ video: file(`moving.${format}`) }] };
    const { picture, error } = await paintInPage(page, server, '/sees/', asked);
    expect(error).toBeUndefined();
    const difference = picture && largestDifference(picture, paintCaseNatively(sees, asked));
    // Colours come from YUV by another way than ffmpeg's.
    console.log(`${format}: ${difference} grey levels from the native picture`);
    expect(picture?.width).toBeGreaterThan(0);
  });
}

test('a video is sampled at the model’s rate, the right way up', async ({ page }) => {
  test.skip(!hasFfmpeg(), 'ffmpeg makes the video');
  await paintInPage(page, server, '/sees/', { prompt: [{ video: file('moving.mp4') }], steps: 1 });
  const chosen = await page.evaluate(async () => {
    const { readVideo } = (await import('/x2i/videos.js' as string)) as typeof import('../../www/src/videos.ts');
    const blob = await (await fetch('/files/moving.mp4')).blob();
    const asked: number[][] = [];
    const film = await readVideo(blob, 'moving.mp4', async (frames, fps) => {
      asked.push([frames, fps]);
      return [0, 15, 29];
    });
    return { asked, sizes: film.frames.map(({ width, height }) => [width, height]), fps: film.fps };
  });
  expect(chosen.asked).toEqual([[30, 10]]);
  expect(chosen.sizes).toEqual([[128, 96], [128, 96], [128, 96]]);
  expect(chosen.fps).toBeCloseTo(1);
});

test.describe('sounds', () => {
  test('a sound equals the native one', async ({ page }) => {
    test.skip(!hears, 'the embedded model does not hear');
    const asked: Case = { prompt: [{ audio: file('tone.wav') }] };
    const { picture, error } = await paintInPage(page, server, '/emoji/', asked);
    expect(error).toBeUndefined();
    expect(picture && largestDifference(picture, paintCaseNatively(EMOJI, asked))).toBeLessThanOrEqual(GREY_LEVELS);
  });

  test('a recording is painted', async ({ page }) => {
    const outcome = await page.evaluate(async () => {
      const { createPipeline, recordAudio } = await import('/x2i/index.js');
      const recording = await recordAudio({ maxSeconds: 10 });
      setTimeout(() => recording.stop(), 1500);
      const audio = await recording.result;
      const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
      const { width, code, message } = await x2i.generate({ prompt: [{ audio }], seed: 1 }).result.catch((error) => error);
      return { bytes: audio.size, type: audio.type, width, code, message };
    });
    expect(outcome.bytes).toBeGreaterThan(1000);
    expect(outcome.type).toContain('audio/');
    if (hears) expect(outcome.width).toBeGreaterThan(0);
    else expect(`${outcome.code}: ${outcome.message}`).toMatch(/^modality: .*MiniCPM-o/);
  });

  test('a sound of another rate is resampled as natively', async ({ page }) => {
    test.skip(!hears, 'the embedded model does not hear');
    const asked: Case = { prompt: [{ audio: file('tone-44.wav') }] };
    const { picture, error } = await paintInPage(page, server, '/emoji/', asked);
    expect(error).toBeUndefined();
    expect(picture && largestDifference(picture, paintCaseNatively(EMOJI, asked))).toBeLessThanOrEqual(GREY_LEVELS);
  });

  test('are decoded at the file’s own rate, to one channel', async ({ page }) => {
    for (const name of ['tone.wav', 'tone-44.wav']) await paintInPage(page, server, '/sees/', { prompt: [{ audio: file(name) }] });
    const heard = await page.evaluate(async () => {
      const { readSound } = (await import('/x2i/sounds.js' as string)) as typeof import('../../www/src/sounds.ts');
      const read = async (name: string) => readSound(await (await fetch(`/files/${name}`)).blob(), name);
      const [a, b] = [await read('tone.wav'), await read('tone-44.wav')];
      const stereo = new AudioBuffer({ length: 10, numberOfChannels: 2, sampleRate: 22_050 });
      stereo.getChannelData(1).fill(0.5);
      const mixed = await readSound(stereo, 'buffer');
      return {
        rates: [a.sampleRate, b.sampleRate, mixed.sampleRate],
        lengths: [a.samples.length, b.samples.length, mixed.samples.length],
        peak: Math.max(...a.samples),
        mean: mixed.samples[5],
      };
    });
    expect(heard.rates).toEqual([16_000, 44_100, 22_050]);
    expect(heard.lengths).toEqual([32_000, 529_200, 10]);
    expect(heard.peak).toBeCloseTo(12_000 / 32_768, 3);
    expect(heard.mean).toBe(0.25);
  });
});

test('earlier turns are shown to the model, as many as it can use', async ({ page }) => {
  const answers = await page.evaluate(async (apple) => {
    const { createPipeline } = await import('/x2i/index.js');
    const turns = [{ prompt: apple, answer: apple }];
    const answers: Record<string, string | undefined> = {};
    for (const model of ['/sees/', '/remembers/']) {
      const x2i = await createPipeline({ model, device: 'cpu' });
      const options = { seed: 1, conditioning: 'answer', prompt: 'on green', steps: 1 } as const;
      answers[model] = (await x2i.generate(options).result).answer;
      answers[`${model} with turns`] = (await x2i.generate({ ...options, turns }).result).answer;
      x2i.close();
    }
    return answers;
  }, APPLE);
  console.log(JSON.stringify(answers));
  expect(answers['/remembers/ with turns']).not.toBe(answers['/remembers/']);
  if (JSON.parse(readFileSync(join(EMOJI, 'model.json'), 'utf8')).defaults.earlier_turns === 0) {
    expect(answers['/sees/ with turns']).toBe(answers['/sees/']);
  }
});

test('an answer that is not sure says what else it could have been, as the program does', async ({ page }) => {
  const answers = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const asked: Record<string, { answer?: string; certainty?: number; alternatives?: unknown }> = {};
    for (const model of ['/unsure/', '/free/']) {
      const x2i = await createPipeline({ model, device: 'cpu' });
      const { answer, certainty, alternatives } = await x2i.generate({ prompt, seed: 7, steps: 1, preview: false }).result;
      asked[model] = { answer: answer as string, certainty: certainty as number, alternatives };
      x2i.close();
    }
    return asked;
  }, APPLE);
  const native = nativeEvent([APPLE, '--model', unsure, '--seed', '7', '--steps', '1']);
  const sure = answers['/unsure/'] as { answer: string; certainty: number; alternatives: Array<{ answer: string; probability: number }> };
  expect(sure.answer).toBe(native['answer']);
  expect(sure.certainty).toBeCloseTo(native['certainty'] as number, 2);
  const others = native['alternatives'] as Array<{ answer: string; probability: number }>;
  expect(sure.alternatives.map(({ answer }) => answer)).toEqual(others.map(({ answer }) => answer));
  for (const [index, { probability }] of sure.alternatives.entries()) expect(probability).toBeCloseTo(others[index]?.probability ?? -1, 2);
  expect(sure.alternatives.length).toBeGreaterThan(0);
  // The same model where it need not be sure.
  expect(answers['/free/']).toEqual({ answer: sure.answer, certainty: expect.any(Number) });
});

test('an answer that names something unknown says so, with the nearest that is known, as the program does', async ({ page }) => {
  const told = await page.evaluate(async (prompt) => {
    const { createPipeline } = await import('/x2i/index.js');
    const x2i = await createPipeline({ model: '/unknowing/', device: 'cpu' });
    const { answer, unknown, alternatives } = await x2i.generate({ prompt, seed: 7, steps: 1, preview: false }).result;
    x2i.close();
    return { answer, unknown, names: alternatives?.map(({ name }: { name?: string }) => name) };
  }, APPLE);
  const native = nativeEvent([APPLE, '--model', unknowing, '--seed', '7', '--steps', '1']);
  const others = native['alternatives'] as Array<{ name: string }>;
  expect(told).toEqual({ answer: native['answer'], unknown: 'apple', names: others.map(({ name }) => name) });
  expect(native['unknown']).toBe('apple');
});

test.describe('refusals', () => {
  const REFUSED: Record<string, [model: string, asked: Case, error: RegExp]> = {
    'a picture to a model of words': ['/blind/', { prompt: [{ image: file('disc.png') }] }, /^modality: model blind can't read images.*Qwen2\.5-VL/],
    'a file that is no picture': ['/sees/', { prompt: [{ image: file('text.png') }] }, /^image: text\.png can't be read/],
    'a file that is no video': ['/sees/', { prompt: [{ video: file('text.mp4') }] }, /^video: text\.mp4: is not a video/],
    'a sound as a video': ['/sees/', { prompt: [{ video: file('tone.wav') }] }, /^video: tone\.wav: is not a video/],
    'a file that is no sound': ['/sees/', { prompt: [{ audio: file('text.wav') }] }, /^audio: text\.wav: has no audio/],
    'a rate that is none': ['/sees/', { prompt: [APPLE], videoFps: 0 }, /^request: videoFps: 0 must be above 0/],
    'a strength beyond 1': ['/sees/', { prompt: [APPLE], init: { image: file('disc.png'), strength: 1.5 } }, /^request: .*strength.*1\.5/],
    'a LoRA of other shapes': ['/sees/', { prompt: [APPLE], lora: { data: file('wrong.safetensors'), scale: 1 } }, /^lora: wrong\.safetensors: .*to_q\.lora/],
    'a config of another adapter': ['/sees/', { prompt: [APPLE], lora: { data: file('ink.safetensors'), config: file('vera.json'), scale: 1 } }, /^config: vera\.json: .*VERA/],
    'a background that is no color': ['/sees/', { prompt: [{ image: file('disc.png') }], background: 'mauve' }, /^request: background: expected white, black or six digits/],
    'a LoRA that is no weight file': ['/sees/', { prompt: [APPLE], lora: { data: file('text.png'), scale: 1 } }, /^format: text\.png/],
  };
  for (const [name, [model, asked, error]] of Object.entries(REFUSED)) {
    test(name, async ({ page }) => {
      const refused = (await paintInPage(page, server, model, asked)).error;
      expect(`${refused?.code}: ${refused?.message}`).toMatch(error);
    });
  }

  test('a control without weights says where they go', async ({ page }) => {
    const message = await page.evaluate(async () => {
      const { createPipeline } = await import('/x2i/index.js');
      const x2i = await createPipeline({ model: '/sees/', device: 'cpu' });
      const options = { prompt: 'a cat', control: { image: new ImageData(8, 8) } };
      return x2i.generate(options).result.then(() => 'painted', (error) => `${error.code}: ${error.message}`);
    });
    expect(message).toMatch(/^request: control: .*controlWeights/);
  });

  test('a video to a model of words, before it is decoded', async ({ page }) => {
    test.skip(!hasFfmpeg(), 'ffmpeg makes the video');
    const { error } = await paintInPage(page, server, '/blind/', { prompt: [{ video: file('moving.mp4') }] });
    expect(`${error?.code}: ${error?.message}`).toMatch(/^modality: model blind can't read images or videos/);
  });
});

test('on WebGPU, a picture, a sound and a first picture are read, too', async ({ page }) => {
  test.setTimeout(600_000);
  const asked: Case = {
    prompt: [{ image: file('disc.png') }, ...(hears ? [{ audio: file('tone.wav') }] : [])],
    steps: 2,
    init: { image: file('other.png'), strength: 0.8 },
  };
  const { picture, error } = await paintInPage(page, server, '/sees/', asked, 'webgpu');
  expect(error).toBeUndefined();
  const difference = picture && largestDifference(picture, paintCaseNatively(sees, asked));
  console.log(`WebGPU: ${difference} grey levels from the native picture`);
  expect(difference).toBeLessThanOrEqual(GREY_LEVELS + 1);
});
