/** Copies what `scripts/build-web` wrote into `wasm/` to where the compiled modules expect it. */

import { cp, mkdir } from 'node:fs/promises';

const FILES = ['x2i_web.js', 'x2i_web.d.ts', 'x2i_web_bg.wasm', 'variants.js', 'variants.d.ts', 'left-out.js'];
const from = new URL('../wasm/', import.meta.url);
const to = new URL('../dist/wasm/', import.meta.url);

await mkdir(to, { recursive: true });
for (const file of FILES) {
  try {
    await cp(new URL(file, from), new URL(file, to));
  } catch (error) {
    throw new Error(`wasm/${file} is missing: run scripts/build-web in the repository's root first`, { cause: error });
  }
}
