/** What a visitor downloads before the model: the WebAssembly and the JavaScript, as a server sends them. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants } from 'node:zlib';
import { expect, test } from './support/browser.ts';
import { REPOSITORY } from './support/packages.ts';

/** 2.4 MB, so that a first picture is not kept waiting by code. The goal is 2.25. */
const MOST_WASM_BYTES = 2_400_000;
/** The client, as compiled and not minified, and the worker's script, which has wasm-bindgen's glue in it. */
const MOST_SCRIPT_BYTES = 45_000;

/** What a page loads with its first video, or imports itself. */
const LATER = ['demux.js', 'element.js', 'keep.js', 'react.js'];

const DIST = join(REPOSITORY, 'www/dist');

/** Brotli's best took 156 s for 12 MB beside other builds. */
test.setTimeout(600_000);

/** Brotli at its best (quality 11, window 24 bits), as servers that compress once keep it. */
async function brotli(bytes: Uint8Array): Promise<number> {
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  return (await promisify(brotliCompress)(bytes, { params })).length;
}

test('the WebAssembly is at most 2.4 MB as brotli', async () => {
  const bytes = await readFile(join(DIST, 'wasm/x2i_web_bg.wasm'));
  const compressed = await brotli(bytes);
  console.log(`x2i_web_bg.wasm: ${compressed} bytes as brotli, ${bytes.length} bytes plain`);
  expect(compressed).toBeLessThanOrEqual(MOST_WASM_BYTES);
});

test('the JavaScript is at most 45 kB as brotli', async () => {
  const modules = (await readdir(DIST)).filter((file) => file.endsWith('.js') && !LATER.includes(file));
  const client = Buffer.concat(await Promise.all(modules.map((file) => readFile(join(DIST, file)))));
  const size = await brotli(client);
  console.log(`client and worker: ${size} bytes as brotli, ${client.length} plain`);
  expect(size).toBeLessThanOrEqual(MOST_SCRIPT_BYTES);
});
