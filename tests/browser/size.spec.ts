/** What a visitor downloads before the model: the WebAssembly and the JavaScript, as a server sends them. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants } from 'node:zlib';
import { expect, test } from './support/browser.ts';
import { REPOSITORY } from './support/packages.ts';

/** 2.25 MB, so that a first picture is not kept waiting by code. */
const MOST_WASM_BYTES = 2_250_000;
/** The client, the worker and wasm-bindgen's glue, as compiled and not minified. */
const MOST_SCRIPT_BYTES = 40_000;

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

test('the WebAssembly is at most 2.25 MB as brotli', async () => {
  const bytes = await readFile(join(DIST, 'wasm/x2i_web_bg.wasm'));
  const compressed = await brotli(bytes);
  console.log(`x2i_web_bg.wasm: ${compressed} bytes as brotli, ${bytes.length} bytes plain`);
  expect(compressed).toBeLessThanOrEqual(MOST_WASM_BYTES);
});

test('the JavaScript is at most 40 kB as brotli', async () => {
  const modules = (await readdir(DIST)).filter((file) => file.endsWith('.js'));
  const client = Buffer.concat(await Promise.all(modules.map((file) => readFile(join(DIST, file)))));
  const glue = await readFile(join(DIST, 'wasm/x2i_web.js'));
  const [clientSize, glueSize] = await Promise.all([brotli(client), brotli(glue)]);
  console.log(`client and worker: ${clientSize} bytes as brotli, ${client.length} plain`);
  console.log(`wasm-bindgen's glue: ${glueSize} bytes as brotli, ${glue.length} plain`);
  expect(clientSize + glueSize).toBeLessThanOrEqual(MOST_SCRIPT_BYTES);
});
