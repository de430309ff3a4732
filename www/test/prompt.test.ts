import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WasmRequest } from '../src/contract.js';
import { createPipeline } from '../src/pipeline.js';
import type { GenerateOptions, PipelineOptions } from '../src/types.js';
import { painting, Script } from './fake.js';

/** What the module is asked for. */
async function asked(options: GenerateOptions, pipeline: Partial<PipelineOptions> = {}): Promise<WasmRequest> {
  const script = new Script();
  let heard: WasmRequest | undefined;
  script.paint = async (request) => {
    heard = request;
    return painting(request);
  };
  const x2i = await createPipeline({ model: 'https://example.org/model/', ...pipeline });
  await x2i.generate({ seed: 1, ...options, output: 'pixels' }).result;
  x2i.close();
  return heard as WasmRequest;
}

const IMAGE = new ImageData(new Uint8ClampedArray(16).fill(7), 2, 2);

test('parts keep their order, each with a name and a hash', async () => {
  const samples = new Float32Array([0, 0.5, -0.5]);
  const prompt = [
    { audio: { samples, sampleRate: 8000 } },
    'on',
    { video: { frames: [IMAGE, IMAGE], fps: 2 } },
    { image: IMAGE },
  ];
  const request = await asked({ prompt });
  assert.deepEqual(
    request.prompt.map((part) => Object.keys(part)[0]),
    ['audio', 'text', 'video', 'image'],
  );
  const [sound, , video, image] = request.prompt;
  assert.ok(sound && 'audio' in sound && video && 'video' in video && image && 'image' in image);
  assert.deepEqual(sound.audio.samples, samples);
  assert.equal(sound.audio.sampleRate, 8000);
  assert.equal(sound.audio.name, 'audio-1');
  assert.equal(video.video.frames.length, 2);
  assert.equal(video.video.fps, 2);
  assert.equal(image.image.name, 'image-4');
  assert.match(image.image.sha256, /^[0-9a-f]{64}$/);
  // The caller's own array did not move.
  assert.equal(samples.length, 3);
});

test('turns, the first picture and the control arrive with their defaults', async () => {
  const turns = [{ prompt: [{ image: IMAGE }, 'a cat'], answer: 'a cat.' }];
  const request = await asked({ prompt: 'and now in red', turns, init: { image: IMAGE }, control: { image: IMAGE } });
  assert.equal(request.turns[0]?.answer, 'a cat.');
  assert.deepEqual(Object.keys(request.turns[0]?.prompt[0] ?? {}), ['image']);
  assert.equal(request.init?.strength, 0.6);
  assert.equal(request.init?.image.width, 2);
  assert.equal(request.control?.scale, 1);
});

test('a background is sent as it was given', async () => {
  const request = await asked({ prompt: [{ image: IMAGE }], background: '3366cc' });
  assert.equal(request.background, '3366cc');
  assert.equal('background' in (await asked({ prompt: [{ image: IMAGE }] })), false);
});

test("PEFT's config is loaded beside its LoRA", async () => {
  const script = new Script();
  const config = new File(['{}'], 'adapter_config.json');
  const loras = [
    { data: new Blob(['abc']), config },
    { data: new Blob(['abc']), config: new Uint8Array([1]) },
  ];
  await createPipeline({ model: 'https://example.org/model/', loras });
  assert.deepEqual(
    script.loaded?.loras.map(({ config }) => [config?.name, config?.data.size]),
    [
      ['lora-1-config', 2],
      ['lora-2-config', 1],
    ],
  );
  assert.equal(script.loaded?.loras[0]?.config?.sha256.slice(0, 8), '44136fa3');
});

test('a cache is a threshold or off, and left out where none is given', async () => {
  assert.equal((await asked({ prompt: 'a cat', cache: 0.1 })).cache, 0.1);
  assert.equal((await asked({ prompt: 'a cat', cache: 'off' })).cache, 'off');
  assert.equal('cache' in (await asked({ prompt: 'a cat' })), false);
});

test('adapters are loaded with the model, by name and hash', async () => {
  const script = new Script();
  const loras = [{ data: new Blob(['abc']), scale: 0.5 }, { data: new Uint8Array([1, 2]) }];
  await createPipeline({ model: 'https://example.org/model/', loras, controlWeights: new Blob(['x']) });
  assert.deepEqual(
    script.loaded?.loras.map(({ name, scale, data }) => [name, scale, data.size]),
    [
      ['lora-1', 0.5, 3],
      ['lora-2', 1, 2],
    ],
  );
  assert.equal(script.loaded?.loras[0]?.sha256.slice(0, 8), 'ba7816bf');
  assert.equal(script.loaded?.control?.name, 'control-weights');
});

test('the answer is told as soon as it is there', async () => {
  const script = new Script();
  script.paint = async (request, _signal, onEvent) => {
    onEvent({ kind: 'encode', done: 1, total: 1, answer: 'a red apple' });
    return { ...painting(request), answer: 'a red apple' };
  };
  const x2i = await createPipeline({ model: 'https://example.org/model/' });
  const run = x2i.generate({ prompt: 'apple', output: 'pixels' });
  const answers = [];
  for await (const { answer } of run) answers.push(answer);
  assert.deepEqual(answers, ['a red apple']);
  assert.equal((await run.result).answer, 'a red apple');
});

test('an answer says how sure it is, and what else it could have been', async () => {
  const script = new Script();
  const doubt = { certainty: 0.4, alternatives: [{ answer: 'a church', probability: 0.3 }] };
  script.paint = async (request) => ({ ...painting(request), answer: 'a castle', ...doubt });
  const x2i = await createPipeline({ model: 'https://example.org/model/' });
  const unsure = await x2i.generate({ prompt: 'castle', output: 'pixels' }).result;
  assert.deepEqual({ certainty: unsure.certainty, alternatives: unsure.alternatives }, doubt);
  script.paint = async (request) => ({ ...painting(request), answer: 'a castle', certainty: 1 });
  const sure = await x2i.generate({ prompt: 'castle', output: 'pixels' }).result;
  assert.deepEqual([sure.certainty, 'unknown' in sure, 'alternatives' in sure], [1, false, false]);
});

test('an answer says what it does not know, and the nearest that it knows', async () => {
  const script = new Script();
  const told = {
    certainty: 0.9,
    unknown: 'castle',
    alternatives: [{ answer: 'a church', name: 'church', probability: 0.3 }],
  };
  script.paint = async (request) => ({ ...painting(request), answer: 'i know no castle', ...told });
  const x2i = await createPipeline({ model: 'https://example.org/model/' });
  const { certainty, unknown, alternatives } = await x2i.generate({ prompt: 'castle', output: 'pixels' }).result;
  assert.deepEqual({ certainty, unknown, alternatives }, told);
});

test('a sound that is too long is refused with its length', async () => {
  new Script();
  const x2i = await createPipeline({ model: 'https://example.org/model/' });
  const audio = { samples: new Float32Array(16_000 * 1400), sampleRate: 16_000 };
  await assert.rejects(x2i.generate({ prompt: [{ audio }] }).result, {
    code: 'audio',
    message: /sound 1 .*1400 seconds/,
  });
});

test('what is no part is refused by its place', async () => {
  new Script();
  const x2i = await createPipeline({ model: 'https://example.org/model/' });
  const prompt = ['a cat', { picture: IMAGE } as never];
  await assert.rejects(x2i.generate({ prompt }).result, { code: 'request', message: /^part 2 / });
});
