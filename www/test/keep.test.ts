import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf, take } from '../src/keep.js';
import type { LoadProgress } from '../src/types.js';
import { breathe, Script } from './fake.js';

const OPTIONS = { model: 'https://example.org/kept/' };

test('equal options have one pipeline, and every user hears of its progress', async () => {
  const script = new Script();
  const heard: LoadProgress[][] = [[], []];
  const users = heard.map((list) => take({ ...OPTIONS }, { onProgress: (progress) => list.push(progress) }));
  const [first, second] = await Promise.all(users.map(({ pipeline }) => pipeline));
  assert.equal(first, second);
  assert.equal(script.workers.length, 1);
  assert.ok(heard[0]?.length);
  assert.deepEqual(heard[0], heard[1]);
  for (const { release } of users) release();
});

test('a pipeline stays while one user has it and a moment longer, so that a mount repeated at once finds it', async () => {
  const script = new Script();
  const options = { model: 'https://example.org/lingers/' };
  const first = take(options);
  const pipeline = await first.pipeline;
  first.release();
  first.release();
  const second = take(options);
  assert.equal(await second.pipeline, pipeline);
  await breathe(2100);
  assert.equal(script.alive, 1);
  second.release();
  await breathe(2100);
  assert.equal(script.alive, 0);
});

test('one that failed is tried again', async () => {
  const script = new Script();
  const options = { model: 'https://example.org/fails/' };
  script.load = async () => {
    throw { code: 'network', message: 'away' };
  };
  const first = take(options);
  await assert.rejects(first.pipeline, { code: 'network' });
  first.release();
  script.load = async () => {};
  const second = take(options);
  await second.pipeline;
  second.release();
});

test('keys are equal for equal options, in any order and with URLs as texts', () => {
  assert.equal(keyOf({ model: 'a', device: 'cpu' }), keyOf({ device: 'cpu', model: 'a' }));
  assert.equal(keyOf({ model: new URL('https://a.b/') }), keyOf({ model: 'https://a.b/' }));
  assert.notEqual(keyOf({ model: 'a' }), keyOf({ model: 'a', share: true }));
});
