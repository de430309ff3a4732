import assert from 'node:assert/strict';
import { test } from 'node:test';
import { locate } from '../src/model.js';
import { createPipeline } from '../src/pipeline.js';
import { describeModel, listDevices, readMetadata } from '../src/tools.js';
import { DEVICE, Script } from './fake.js';

const MODEL = 'https://example.org/models/flux';

test('a folder is named by its URL, with or without a slash', async () => {
  const reference = { name: 'example.org/models/flux', base: 'https://example.org/models/flux/' };
  assert.deepEqual(await locate(MODEL), reference);
  assert.deepEqual(await locate(new URL(`${MODEL}/`)), reference);
});

test('files keep their paths, and their URLs become absolute', async () => {
  const files = { 'model.json': new URL('https://a.example/1.json'), 'flux.gguf': 'https://b.example/2' };
  assert.deepEqual(await locate({ name: 'mine', files }), {
    name: 'mine',
    files: { 'model.json': 'https://a.example/1.json', 'flux.gguf': 'https://b.example/2' },
  });
});

test('a location that is no URL is an error of configuration', async () => {
  await assert.rejects(locate('http://'), { code: 'config' });
});

test("'emoji' is the package's files", async () => {
  const { name, files } = await locate('emoji');
  assert.equal(name, 'emoji');
  assert.deepEqual(Object.keys(files ?? {}).sort(), [
    'align_net.gguf',
    'encoder.gguf',
    'flux.gguf',
    'model.json',
    'tokenizer.json',
    'vae.gguf',
  ]);
});

test('questions share one worker, which a pipeline takes over', async () => {
  const script = new Script();
  const workerUrl = 'https://example.org/takes-over.js';
  const [devices, description] = await Promise.all([listDevices({ workerUrl }), describeModel(MODEL, { workerUrl })]);
  assert.deepEqual(devices, [DEVICE]);
  assert.equal(description.name, 'example.org/models/flux');
  assert.equal(script.workers.length, 1);
  const x2i = await createPipeline({ model: MODEL, workerUrl });
  assert.equal(script.workers.length, 1);
  await createPipeline({ model: MODEL, workerUrl });
  assert.equal(script.workers.length, 2);
  x2i.close();
  assert.equal(script.alive, 1);
});

test("a pipeline does not take a worker of another script's", async () => {
  const script = new Script();
  await listDevices({ workerUrl: 'https://example.org/a.js' });
  await createPipeline({ model: MODEL, workerUrl: 'https://example.org/b.js' });
  assert.equal(script.workers.length, 2);
});

test("a PNG's metadata is read, or absent", async () => {
  new Script();
  assert.equal((await readMetadata(new Blob(['four'])))?.seed, 4);
  assert.equal(await readMetadata(new Blob([])), undefined);
});
