import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoadEstimate, PaintEstimate } from '../src/progress.js';

/** A clock that is set by hand. */
function clock(): { now: () => number; at: number } {
  const hand = { at: 1000, now: () => hand.at };
  return hand;
}

test('a steady download ends when it says', () => {
  const time = clock();
  const estimate = new LoadEstimate(time.now);
  const etas = [0, 100, 200, 300].map((done) => {
    const { eta } = estimate.hear({ kind: 'download', file: 'a', done, total: 1000, cached: false });
    time.at += 1000;
    return eta;
  });
  assert.deepEqual(etas, [undefined, 9, 8, 7]);
});

test('a download that slows down is told by its last seconds', () => {
  const time = clock();
  const estimate = new LoadEstimate(time.now);
  let eta: number | undefined;
  let done = 0;
  for (const speed of [...Array(10).fill(100), ...Array(10).fill(1)]) {
    done += speed;
    time.at += 1000;
    eta = estimate.hear({ kind: 'download', file: 'a', done, total: 2000, cached: false }).eta;
  }
  assert.equal(Math.round(eta as number), 990);
});

test("the cache's speed says nothing of the network's", () => {
  const time = clock();
  const estimate = new LoadEstimate(time.now);
  estimate.hear({ kind: 'download', file: 'a', done: 0, total: 1000, cached: true });
  time.at += 1000;
  estimate.hear({ kind: 'download', file: 'a', done: 900, total: 1000, cached: true });
  time.at += 1000;
  const { eta, cached } = estimate.hear({ kind: 'download', file: 'b', done: 901, total: 1000, cached: false });
  assert.equal(eta, undefined);
  assert.equal(cached, false);
});

test('a first picture tells nothing until its first block is done, then counts the decoder as a step', () => {
  const time = clock();
  const estimate = new PaintEstimate(4, undefined, time.now);
  assert.equal(estimate.hear({ kind: 'encode', done: 1, total: 2 }).eta, undefined);
  assert.equal(estimate.hear({ kind: 'denoise', step: 0, steps: 4, done: 0, total: 40 }).eta, undefined);
  time.at += 1000;
  // 39 blocks and a step of 10 blocks are left, a second each.
  assert.equal(estimate.hear({ kind: 'denoise', step: 0, steps: 4, done: 1, total: 40 }).eta, 49);
});

test('a picture like the last one tells the time of the phases to come', () => {
  const time = clock();
  const known = { encode: 2000, denoise: 8000, decode: 3000, total: 13_000 };
  const estimate = new PaintEstimate(4, known, time.now);
  time.at += 500;
  assert.equal(estimate.hear({ kind: 'encode', done: 0, total: 2 }).eta, 12.5);
  time.at += 1500;
  assert.equal(estimate.hear({ kind: 'denoise', step: 0, steps: 4, done: 0, total: 40 }).eta, 11);
  time.at += 4000;
  assert.equal(estimate.hear({ kind: 'denoise', step: 2, steps: 4, done: 20, total: 40 }).eta, 7);
  time.at += 4000;
  assert.equal(estimate.hear({ kind: 'decode', done: 0, total: 2 }).eta, 3);
});

test('steps are told in every phase', () => {
  const estimate = new PaintEstimate(4);
  assert.equal(estimate.hear({ kind: 'encode', done: 1, total: 1 }).steps, 4);
  const { step, steps } = estimate.hear({ kind: 'denoise', step: 2, steps: 6, done: 2, total: 6 });
  assert.deepEqual([step, steps], [2, 6]);
  assert.equal(estimate.hear({ kind: 'decode', done: 1, total: 1 }).step, 6);
});
