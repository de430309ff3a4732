import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkGenerate, checkPipeline } from '../src/options.js';
import { createPipeline } from '../src/pipeline.js';
import type { PipelineOptions } from '../src/types.js';
import { Script } from './fake.js';

const PIPELINE = { model: 'https://example.org/model/' };

test('options that are right pass', () => {
  const signal = new AbortController().signal;
  checkPipeline({ ...PIPELINE, device: 'cpu', cache: 'none', thread: 'main', signal, onProgress: () => {} });
  checkPipeline({ model: new URL('https://example.org/'), workerUrl: 'https://example.org/worker.js' });
  checkPipeline({ model: { name: 'a', files: { 'model.json': new URL('https://example.org/') } } });
  checkPipeline({ ...PIPELINE, loras: [{ data: new Uint8Array(1), config: new Blob([]), scale: 0.5 }] });
  checkGenerate({ prompt: '' });
  checkGenerate({ prompt: ['a', { text: 'b' }, { image: new Blob([]) }], steps: 4, cache: 0.1, numImages: 2, signal });
  checkGenerate({ prompt: 'a', turns: [{ prompt: 'b', answer: '' }], init: { image: new Blob([]), strength: 1 } });
  // What a caller leaves open is as if it were not there.
  checkGenerate({ prompt: 'a', steps: undefined, init: undefined, output: undefined });
});

test('a mistake names its option, what it must be, and what it is', () => {
  const mistakes: Array<[options: unknown, message: RegExp]> = [
    [null, /^generate needs an object/],
    [{ prompt: 'a', preview: 'yes' }, /^preview must be true or false, not 'yes'$/],
    [{ prompt: 'a', width: Number.NaN }, /^width must be a number, not NaN$/],
    [{ prompt: 'a', cache: 'on' }, /^cache must be 'off' or a number, not 'on'$/],
    [{ prompt: 'a', conditioning: 'x'.repeat(99) }, /^conditioning must be 'prompt' or 'answer', not 'x{60}…'$/],
    [{ prompt: 'a', control: { image: 1, scale: '2' } }, /^control\.scale must be a number, not '2'$/],
    [{ prompt: 'a', turns: ['b'] }, /^turns\[0\] must be \{ prompt, answer \}, not 'b'$/],
    [{ prompt: ['a', { image: 1, text: 'b' }] }, /^part 2 of prompt must be .*, not \{ image, text \}$/],
    [{ prompt: ['a', { text: 7 }] }, /^prompt\[1\]\.text must be a text, not 7$/],
    [{ prompt: ['a', null] }, /^part 2 of prompt must be .*, not null$/],
    [{ prompt: 'a', numImages: 1.5 }, /^numImages must be a whole number above 0, not 1.5$/],
  ];
  for (const [options, message] of mistakes) {
    assert.throws(() => checkGenerate(options), { name: 'X2iError', code: 'request', message });
  }
  assert.throws(() => checkPipeline({ ...PIPELINE, share: 1 }), { code: 'config', message: /^share must be true/ });
});

test('mistakes reject, and never throw', async () => {
  new Script();
  await assert.rejects(createPipeline(undefined as unknown as PipelineOptions), { code: 'config' });
  const x2i = await createPipeline(PIPELINE);
  const run = x2i.generate(undefined as never);
  await assert.rejects(run.result, { code: 'request' });
  await assert.rejects(
    async () => {
      for await (const _ of run);
    },
    { code: 'request' },
  );
});
