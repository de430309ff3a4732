import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sampleRateOf } from '../src/rates.js';

function rate(...bytes: Array<string | number[]>): number | undefined {
  const all = bytes.flatMap((part) =>
    typeof part === 'string' ? [...part].map((letter) => letter.charCodeAt(0)) : part,
  );
  return sampleRateOf(new DataView(Uint8Array.from(all).buffer));
}

const zeros = (count: number): number[] => Array(count).fill(0);

test('a file says its own sample rate', () => {
  const format = [1, 0, 1, 0, 0x80, 0x3e, 0, 0];
  assert.equal(rate('RIFF', zeros(4), 'WAVE', 'fmt ', [16, 0, 0, 0], format), 16_000);
  assert.equal(rate('RIFF', zeros(4), 'WAVE', 'JUNK', [3, 0, 0, 0], zeros(4), 'fmt ', [16, 0, 0, 0], format), 16_000);
  assert.equal(rate('fLaC', zeros(14), [0x0a, 0xc4, 0x42, 0xf0]), 44_100);
  assert.equal(rate('OggS', zeros(22), [1, 30], '\x01vorbis', zeros(5), [0x22, 0x56, 0, 0]), 22_050);
  assert.equal(rate('OggS', zeros(22), [1, 19], 'OpusHead'), 48_000);
  assert.equal(rate([0xff, 0xfb, 0x90, 0x64]), 44_100);
  assert.equal(rate('ID3', [4, 0, 0, 0, 0, 1, 2], zeros(130), [0xff, 0xf3, 0x54, 0xc4]), 24_000);
});

test('a file that does not, or ends before, says nothing', () => {
  assert.equal(rate(''), undefined);
  assert.equal(rate('RIFF', zeros(4), 'WAVE'), undefined);
  assert.equal(rate('RIFF', zeros(4), 'WAVE', 'LIST', [0xff, 0xff, 0xff, 0xff], zeros(40)), undefined);
  assert.equal(rate('OggS', zeros(40)), undefined);
  assert.equal(rate([0xff, 0xfb, 0x9c, 0x64]), undefined);
  assert.equal(rate('this is a text'), undefined);
});
