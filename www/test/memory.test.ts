import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readMemory } from '../src/memory.js';
import { createPipeline } from '../src/pipeline.js';
import { Script } from './fake.js';

test('sizes are bytes, and words as the native flag takes them', () => {
  const sizes: Array<[number | string, number]> = [
    [1, 1],
    [3_000_000_000, 3_000_000_000],
    ['123', 123],
    ['5b', 5],
    ['2K', 2048],
    ['3G', 3 * 2 ** 30],
    ['3GiB', 3 * 2 ** 30],
    ['1.5 gib', 1.5 * 2 ** 30],
    ['3000M', 3000 * 2 ** 20],
    ['2GB', 2e9],
    ['1MB', 1e6],
    ['1T', 2 ** 40],
  ];
  for (const [given, bytes] of sizes) {
    assert.deepEqual(readMemory({ model: 'emoji', maxDeviceMemory: given }), { maxDeviceMemory: bytes }, String(given));
  }
  assert.deepEqual(readMemory({ model: 'emoji' }), {});
});

test('what is no size is refused by the name of the option', () => {
  for (const given of ['', '-1', '0', '2 GB of it', 'GB', '1.2.3G', '1e3', '5X', '9000000T', 0, -1, 1.5, Number.NaN]) {
    const refused = {
      name: 'X2iError',
      code: 'request',
      message: /^maxDeviceMemory is .*expected a size, such as '3GiB'/,
    };
    assert.throws(() => readMemory({ model: 'emoji', maxDeviceMemory: given }), refused, String(given));
  }
});

test('the module is asked for the limit in bytes', async () => {
  const script = new Script();
  const model = 'https://example.org/model/';
  (await createPipeline({ model, maxDeviceMemory: '2GB' })).close();
  assert.equal(script.loaded?.maxDeviceMemory, 2e9);
  (await createPipeline({ model })).close();
  assert.equal(Object.hasOwn(script.loaded ?? {}, 'maxDeviceMemory'), false);
  await assert.rejects(createPipeline({ model, maxDeviceMemory: 'much' }), { code: 'request' });
});
