import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPipeline } from '../src/pipeline.js';
import type { GenerateOptions, LoadProgress, Pipeline, PipelineOptions, Warning } from '../src/types.js';
import { breathe, paint, painting, paintUntilAborted, Script, textOf } from './fake.js';

function open(options: Partial<PipelineOptions> = {}): Promise<Pipeline> {
  return createPipeline({ model: 'https://example.org/model/', ...options });
}

function ask(prompt: string, options: Partial<GenerateOptions> = {}): GenerateOptions & { output: 'pixels' } {
  return { prompt, seed: 1, ...options, output: 'pixels' };
}

test('calls run one after another', async () => {
  const script = new Script();
  const x2i = await open();
  await Promise.all(['a', 'b', 'c'].map((prompt) => x2i.generate(ask(prompt)).result));
  assert.deepEqual(script.log, ['open', 'load', 'generate a', 'end a', 'generate b', 'end b', 'generate c', 'end c']);
});

test('steps and the result arrive', async () => {
  new Script();
  const x2i = await open();
  const run = x2i.generate(ask('a', { seed: 2n ** 63n, steps: 3 }));
  const phases = [];
  for await (const { phase, step, steps, preview } of run) phases.push(`${phase} ${step}/${steps} ${preview?.width}`);
  assert.deepEqual(phases, [
    'encode 0/3 undefined',
    'denoise 1/3 2',
    'denoise 2/3 2',
    'denoise 3/3 2',
    'decode 3/3 undefined',
  ]);
  const { image, seed, png, timings } = await run.result;
  assert.equal(image.length, 16);
  assert.equal(seed, 2n ** 63n);
  assert.equal(png.type, 'image/png');
  assert.ok(timings.denoise > 0 && timings.total >= timings.denoise);
});

test('loading is told, with its warnings', async () => {
  new Script();
  const heard: Array<LoadProgress | Warning> = [];
  await open({ onProgress: (progress) => heard.push(progress), onWarning: (warning) => heard.push(warning) });
  assert.deepEqual(heard, [
    { phase: 'download', file: 'flux.gguf', cached: false, done: 5, total: 10 },
    { code: 'quota', message: 'the disk is full' },
    { phase: 'load', done: 1, total: 1 },
  ]);
});

test('an aborted call that waits rejects at once, and the running one goes on', async () => {
  const script = new Script();
  const x2i = await open();
  const first = x2i.generate(ask('a', { steps: 20 }));
  const abort = new AbortController();
  const second = x2i.generate(ask('b', { signal: abort.signal }));
  const third = x2i.generate(ask('c'));
  abort.abort('changed my mind');
  await assert.rejects(second.result, { name: 'X2iError', code: 'aborted', cause: 'changed my mind' });
  assert.ok(!script.log.includes('end a'));
  await Promise.all([first.result, third.result]);
  assert.ok(!script.log.includes('generate b'));
});

test('an abort stops the running call in the module, and the next one waits until it has stopped', async () => {
  const script = new Script();
  script.paint = (request, signal, onEvent) =>
    textOf(request) === 'a' ? paintUntilAborted(signal) : paint(request, signal, onEvent);
  const x2i = await open();
  const abort = new AbortController();
  const first = x2i.generate(ask('a', { signal: abort.signal }));
  const second = x2i.generate(ask('b'));
  await breathe(10);
  abort.abort();
  await assert.rejects(first.result, { code: 'aborted', cause: abort.signal.reason });
  await second.result;
  assert.deepEqual(script.log.slice(2), ['generate a', 'end a', 'generate b', 'end b']);
  assert.equal(script.workers.length, 1);
});

test('a signal that is aborted already rejects at once', async () => {
  const script = new Script();
  const x2i = await open();
  const run = x2i.generate(ask('a', { signal: AbortSignal.abort('early') }));
  await assert.rejects(run.result, { code: 'aborted', cause: 'early' });
  await breathe();
  assert.deepEqual(script.log, ['open', 'load']);
});

test('close rejects what runs and what waits, and ends the worker', async () => {
  const script = new Script();
  script.paint = (_request, signal) => paintUntilAborted(signal);
  const x2i = await open();
  const runs = ['a', 'b'].map((prompt) => x2i.generate(ask(prompt)).result);
  await breathe();
  x2i.close();
  x2i.close();
  for (const run of runs) await assert.rejects(run, { code: 'closed' });
  await assert.rejects(x2i.generate(ask('c')).result, { code: 'closed' });
  await breathe();
  assert.equal(script.alive, 0);
  assert.equal(script.workers.length, 1);
});

test('after a lost device the next call starts on a fresh worker with the model', async () => {
  const script = new Script();
  let lost = 0;
  script.paint = async (request, signal, onEvent) => {
    if (lost++ === 0) throw { code: 'device-lost', message: 'destroyed' };
    return paint(request, signal, onEvent);
  };
  const heard: unknown[] = [];
  const x2i = await open({ onProgress: (progress) => heard.push(progress) });
  const toldBefore = heard.length;
  const first = x2i.generate(ask('a'));
  const second = x2i.generate(ask('b'));
  await assert.rejects(first.result, { code: 'device-lost', message: 'destroyed' });
  await second.result;
  await x2i.generate(ask('c')).result;
  assert.deepEqual(
    script.log.filter((entry) => !entry.startsWith('end')),
    ['open', 'load', 'generate a', 'open', 'load', 'generate b', 'generate c'],
  );
  assert.equal(script.workers.length, 2);
  assert.equal(script.alive, 1);
  assert.equal(heard.length, toldBefore);
});

test('a panic ends a call that would never have been answered', async () => {
  const script = new Script();
  script.paint = () => new Promise(() => {});
  const x2i = await open();
  const run = x2i.generate(ask('a'));
  await breathe();
  script.workers[0]?.panic('index out of bounds');
  await assert.rejects(run.result, { code: 'internal', message: 'index out of bounds' });
  script.paint = paint;
  await x2i.generate(ask('b')).result;
  assert.equal(script.alive, 1);
});

test('a full memory ends it by its own code, and the next call has a new worker', async () => {
  const script = new Script();
  script.paint = () => new Promise(() => {});
  const x2i = await open();
  const run = x2i.generate(ask('a'));
  await breathe();
  script.workers[0]?.panic('set maxDeviceMemory', 'device-limit');
  await assert.rejects(run.result, { code: 'device-limit', message: 'set maxDeviceMemory' });
  script.paint = paint;
  await x2i.generate(ask('b')).result;
  assert.equal(script.workers.length, 2);
});

test('a crash of the worker does, too', async () => {
  const script = new Script();
  script.paint = () => new Promise(() => {});
  const x2i = await open();
  const run = x2i.generate(ask('a'));
  await breathe();
  script.workers[0]?.fail('out of memory');
  await assert.rejects(run.result, { code: 'internal', message: /out of memory/ });
});

test('a restart that fails rejects its call, and the next one tries again', async () => {
  const script = new Script();
  const x2i = await open();
  script.workers[0]?.panic('first');
  await breathe();
  script.open = async () => {
    throw { code: 'device-unavailable', message: 'still resetting' };
  };
  await assert.rejects(x2i.generate(ask('a')).result, { code: 'device-unavailable' });
  script.open = async () => {};
  await x2i.generate(ask('b')).result;
  assert.equal(script.workers.length, 3);
  assert.equal(script.alive, 1);
});

test('close during a restart ends the new worker', async () => {
  const script = new Script();
  const x2i = await open();
  script.workers[0]?.panic('first');
  await breathe();
  script.load = () => new Promise(() => {});
  const run = x2i.generate(ask('a'));
  await breathe(10);
  assert.equal(script.alive, 1);
  x2i.close();
  await assert.rejects(run.result, { code: 'closed' });
  assert.equal(script.alive, 0);
});

test('other failures keep the worker', async () => {
  const script = new Script();
  script.paint = async (request) => {
    if (textOf(request) === 'a') throw { code: 'request', message: 'width 7 is no multiple of 16' };
    return painting(request);
  };
  const x2i = await open();
  await assert.rejects(x2i.generate(ask('a')).result, { code: 'request' });
  await x2i.generate(ask('b')).result;
  assert.equal(script.workers.length, 1);
});

test('a signal stops loading, and the worker with it', async () => {
  const script = new Script();
  script.load = () => new Promise(() => {});
  const abort = new AbortController();
  const opening = open({ signal: abort.signal });
  await breathe(10);
  abort.abort('navigated away');
  await assert.rejects(opening, { code: 'aborted', cause: 'navigated away' });
  assert.equal(script.alive, 0);
});

test('a signal that loading used says nothing to the pipeline later', async () => {
  new Script();
  const abort = new AbortController();
  const x2i = await open({ signal: abort.signal });
  abort.abort();
  await x2i.generate(ask('a')).result;
});

test('a worker that does not start is an error of configuration', async () => {
  const script = new Script();
  const opening = open();
  while (!script.workers[0]) await Promise.resolve();
  script.workers[0].fail('');
  await assert.rejects(opening, { code: 'config', message: /workerUrl/ });
});

test('a failure to load ends the worker', async () => {
  const script = new Script();
  script.load = async () => {
    throw { code: 'integrity', message: 'flux.gguf' };
  };
  await assert.rejects(open(), { code: 'integrity', message: 'flux.gguf' });
  assert.equal(script.alive, 0);
});

test('seeds are whole numbers of 64 bits; without one there is a random one', async () => {
  new Script();
  const x2i = await open();
  for (const seed of [-1, 1.5, 2 ** 60, 2n ** 64n, Number.NaN]) {
    await assert.rejects(x2i.generate(ask('a', { seed })).result, { code: 'request' }, String(seed));
  }
  const run = x2i.generate({ prompt: 'a', output: 'pixels' });
  const { seed, metadata } = await run.result;
  assert.ok(seed >= 0n && seed < 2n ** 32n);
  assert.equal(BigInt(metadata.seed), seed);
});

test('no previews come when none are asked for', async () => {
  new Script();
  const x2i = await open();
  for await (const { preview } of x2i.generate(ask('a', { preview: false }))) assert.equal(preview, undefined);
});

test('a second picture like the first tells its time from the start', async () => {
  new Script();
  const x2i = await open();
  await x2i.generate(ask('a')).result;
  for await (const { phase, eta } of x2i.generate(ask('b'))) {
    assert.equal(phase, 'encode');
    assert.ok(eta !== undefined && eta > 0);
    break;
  }
});

test('what throws in a listener of the caller does not disturb the picture', async (context) => {
  new Script();
  const uncaught: unknown[] = [];
  process.setUncaughtExceptionCaptureCallback((error) => uncaught.push(error));
  context.after(() => process.setUncaughtExceptionCaptureCallback(null));
  const x2i = await open({
    onProgress: () => {
      throw new Error('the page');
    },
  });
  await x2i.generate(ask('a')).result;
  assert.ok(uncaught.length > 0);
});

test('several images have the seeds that follow, and one result', async () => {
  const script = new Script();
  const seeds: unknown[] = [];
  script.paint = (request, signal, onEvent) => {
    seeds.push(request.seed);
    return paint(request, signal, onEvent);
  };
  const x2i = await open();
  const run = x2i.generate(ask('a', { seed: 2n ** 53n - 2n, numImages: 3, steps: 1 }));
  const heard = [];
  for await (const { phase, index, numImages } of run) if (phase === 'decode') heard.push(`${index}/${numImages}`);
  const { images, image, seed } = await run.result;
  assert.deepEqual(seeds, [2 ** 53 - 2, 2 ** 53 - 1, 2n ** 53n]);
  assert.deepEqual(heard, ['0/3', '1/3', '2/3']);
  assert.equal(images.length, 3);
  assert.equal(images[0]?.image, image);
  assert.equal(images[2]?.seed, seed + 2n);
});

test('an abort ends the images that have not begun', async () => {
  const script = new Script();
  const x2i = await open();
  const stop = new AbortController();
  const run = x2i.generate(ask('a', { numImages: 9, signal: stop.signal }));
  for await (const { index } of run) if (index === 1) break;
  stop.abort();
  await assert.rejects(run.result, { code: 'aborted' });
  await x2i.generate(ask('b')).result;
  assert.equal(script.log.filter((entry) => entry === 'generate a').length, 2);
});

test('a pipeline ends with its scope', async () => {
  const script = new Script();
  const x2i = await open();
  const dispose = Symbol.dispose ?? 'undefined';
  (x2i as unknown as Record<symbol | string, () => void>)[dispose]?.();
  await assert.rejects(x2i.generate(ask('a')).result, { code: 'closed' });
  assert.equal(script.alive, 0);
});
