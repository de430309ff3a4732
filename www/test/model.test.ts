import assert from 'node:assert/strict';
import { test } from 'node:test';
import { locate } from '../src/model.js';
import { askToPersist } from '../src/reach.js';

const HUB = 'https://huggingface.co';

test('repositories of the Hub are named as for the native program', async () => {
  const cases: Record<string, [string, string]> = {
    'OPPOer/X2I': ['hf:OPPOer/X2I', `${HUB}/OPPOer/X2I/resolve/main/`],
    'hf:OPPOer/X2I': ['hf:OPPOer/X2I', `${HUB}/OPPOer/X2I/resolve/main/`],
    'a/b.c@v1.0': ['hf:a/b.c@v1.0', `${HUB}/a/b.c/resolve/v1.0/`],
    'hf:a/b_c@refs/pr/1': ['hf:a/b_c@refs/pr/1', `${HUB}/a/b_c/resolve/refs%2Fpr%2F1/`],
  };
  for (const [location, [name, base]] of Object.entries(cases)) {
    assert.deepEqual(await locate(location), { name, base }, location);
  }
});

test('a mirror of the Hub has the same names', async () => {
  const reference = await locate('a/b', 'https://mirror.example/hub/');
  assert.deepEqual(reference, { name: 'hf:a/b', base: 'https://mirror.example/hub/a/b/resolve/main/' });
});

test('what the Hub would not take is no repository of it', async () => {
  const long = `hf:a/${'b'.repeat(97)}`;
  for (const location of [
    'hf:',
    'hf:a',
    'hf:a/',
    'hf:/b',
    'hf:a/b/c',
    'hf:../b',
    'hf:a/..',
    'hf:a/.b',
    'hf:a/b--c',
    'hf:a/b c',
    'hf:a/b@',
    'hf:a/b@../x',
    'hf:a/b@x/../y',
    'hf:a/b@/x',
    'hf:a/b:f.gguf',
    'hf:-a/b',
    long,
  ]) {
    await assert.rejects(locate(location), { code: 'config', message: /give hf:OWNER\/NAME/ }, location);
  }
});

test('folders are URLs, whose query stays and is no part of the name', async () => {
  const base = 'https://example.org/models/flux/';
  for (const location of ['https://example.org/models/flux', base, new URL(base)]) {
    assert.deepEqual(await locate(location), { name: 'example.org/models/flux', base });
  }
  assert.deepEqual(await locate(`${base}?key=1#x`), { name: 'example.org/models/flux', base: `${base}?key=1` });
});

test('lasting storage is asked for once, and by itself only for large downloads', () => {
  let asked = 0;
  const persist = async () => ++asked > 0;
  Object.defineProperty(globalThis, 'navigator', { value: { storage: { persist } }, configurable: true });
  const large = { cached: false, total: 200_000_000 };
  askToPersist({ cached: false, total: 16_000_000 }, { model: 'emoji' });
  askToPersist({ cached: true, total: 200_000_000 }, { model: 'emoji' });
  askToPersist(large, { model: 'emoji', persist: false });
  askToPersist(large, { model: 'emoji', cache: 'none' });
  assert.equal(asked, 0);
  askToPersist(large, { model: 'emoji' });
  askToPersist(large, { model: 'emoji' });
  assert.equal(asked, 1);
});
