import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { compile, type Layout, memoryOf } from '../src/variants.js';

/** `(import "m" "memory" (memory 1 2))`, and an exported function that returns 7. */
const MODULE = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[1, 5, 1, 0x60, 0, 1, 0x7f],
  ...[2, 14, 1, 1, 0x6d, 6, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 2, 1, 1, 2],
  ...[3, 2, 1, 0],
  ...[7, 5, 1, 1, 0x66, 0, 0],
  ...[10, 8, 1, 6, 0, 0x41, 7, 1, 1, 0x0b],
);
const LAYOUT: Layout = { memory: { flag: 28, initial: 1, maximum: 2 }, relaxed: [[MODULE.length - 6, 6]] };
const realFetch = globalThis.fetch;

afterEach(() => {
  globalThis.fetch = realFetch;
});

/** Answers every request with the module, in pieces of `length` bytes. */
function serve(length: number, type = 'application/wasm'): void {
  globalThis.fetch = async () => {
    const pieces = Array.from({ length: Math.ceil(MODULE.length / length) }, (_, i) =>
      MODULE.slice(i * length, (i + 1) * length),
    );
    const body = new ReadableStream({
      pull: (controller) => {
        const piece = pieces.shift();
        if (piece) controller.enqueue(piece);
        else controller.close();
      },
    });
    return new Response(body, { headers: { 'content-type': type } });
  };
}

async function call(variant: { relaxed: boolean; shared: boolean }): Promise<number> {
  const module = await compile('https://example.org/module.wasm', LAYOUT, variant);
  const instance = new WebAssembly.Instance(module, { m: { memory: memoryOf(LAYOUT, variant) } });
  return (instance.exports.f as () => number)();
}

test('the file as it is has a memory that is not shared', async () => {
  for (const type of ['application/wasm', 'application/octet-stream']) {
    serve(1000, type);
    assert.equal(await call({ relaxed: true, shared: false }), 7);
  }
});

test('the memory is shared where the page may share it, however the file arrives in pieces', async () => {
  for (const length of [1, 5, 29, 1000]) {
    serve(length);
    assert.equal(await call({ relaxed: true, shared: true }), 7);
  }
  serve(1000);
  const module = await compile('https://example.org/module.wasm', LAYOUT, { relaxed: true, shared: true });
  const unshared = memoryOf(LAYOUT, { relaxed: true, shared: false });
  assert.throws(() => new WebAssembly.Instance(module, { m: { memory: unshared } }), WebAssembly.LinkError);
});

test('functions that a browser can not compile become functions that trap', async () => {
  for (const length of [1, 7, 1000]) {
    serve(length);
    await assert.rejects(call({ relaxed: false, shared: false }), WebAssembly.RuntimeError);
  }
});

test('a missing file is an error with its status', async () => {
  globalThis.fetch = async () => new Response('', { status: 404 });
  await assert.rejects(compile('https://example.org/x.wasm', LAYOUT, { relaxed: true, shared: false }), /HTTP 404/);
});
