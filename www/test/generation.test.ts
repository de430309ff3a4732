import assert from 'node:assert/strict';
import { test } from 'node:test';
import { X2iError } from '../src/errors.js';
import { RunningGeneration } from '../src/generation.js';
import type { GenerationResult, StepProgress } from '../src/types.js';
import './fake.js';
import { breathe } from './fake.js';

const PAINTING = { width: 1 } as GenerationResult<'blob'>;

function step(number: number, preview = false): StepProgress {
  const picture = preview && { preview: new ImageData(new Uint8ClampedArray(4), 1, 1) };
  return { phase: 'denoise', index: 0, numImages: 1, step: number, steps: 3, done: number, total: 3, ...picture };
}

async function read(run: RunningGeneration<'blob'>): Promise<StepProgress[]> {
  const steps = [];
  for await (const progress of run) steps.push(progress);
  return steps;
}

test('a reader that comes late misses no step, and gets the newest preview alone', async () => {
  const run = new RunningGeneration<'blob'>();
  for (const number of [1, 2, 3]) run.report(step(number, true));
  run.report(step(3));
  run.finish(PAINTING);
  const steps = await read(run);
  assert.deepEqual(
    steps.map(({ step, preview }) => [step, preview !== undefined]),
    [
      [1, false],
      [2, false],
      [3, true],
      [3, false],
    ],
  );
});

test('a reader that keeps up gets every preview, and keeps it', async () => {
  const run = new RunningGeneration<'blob'>();
  const reading = read(run);
  for (const number of [1, 2, 3]) {
    run.report(step(number, true));
    await breathe();
  }
  run.finish(PAINTING);
  const steps = await reading;
  assert.equal(steps.filter(({ preview }) => preview).length, 3);
});

test('two readers both read everything', async () => {
  const run = new RunningGeneration<'blob'>();
  const readings = [read(run), read(run)];
  run.report(step(1));
  run.finish(PAINTING);
  assert.deepEqual(
    (await Promise.all(readings)).map((steps) => steps.length),
    [1, 1],
  );
});

test('after the steps so far the iterator throws the error', async () => {
  const run = new RunningGeneration<'blob'>();
  run.report(step(1));
  run.fail(new X2iError('network', 'gone'));
  const seen: number[] = [];
  const reading = (async () => {
    for await (const progress of run) seen.push(progress.step);
  })();
  await assert.rejects(reading, { code: 'network' });
  assert.deepEqual(seen, [1]);
});

test('a failure that only the iterator hears is no unhandled rejection', async (context) => {
  const unhandled: unknown[] = [];
  const listener = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', listener);
  context.after(() => process.off('unhandledRejection', listener));
  const run = new RunningGeneration<'blob'>();
  run.fail(new X2iError('network', 'gone'));
  await assert.rejects(read(run));
  await breathe(10);
  assert.deepEqual(unhandled, []);
});

test('leaving the loop leaves the generation alone', async () => {
  const run = new RunningGeneration<'blob'>();
  run.report(step(1));
  for await (const _ of run) break;
  run.report(step(2));
  run.finish(PAINTING);
  assert.equal(await run.result, PAINTING);
  assert.equal((await read(run)).length, 2);
});

test('nothing is told after the end', async () => {
  const run = new RunningGeneration<'blob'>();
  run.fail(new X2iError('aborted', 'first'));
  run.report(step(1));
  run.finish(PAINTING);
  await assert.rejects(run.result, { code: 'aborted' });
  await assert.rejects(read(run), { message: 'first' });
});
