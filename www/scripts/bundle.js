/**
 * Makes two of the compiled modules complete in themselves, so that they work wherever a bundler or a person puts them:
 * the worker, and the part of mediabunny that reads videos (whose types of WebCodecs contradict the DOM's).
 */

import { readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = new URL('../dist/', import.meta.url);

/** wasm-bindgen's module looks for its WebAssembly beside itself, which the worker's script is not. */
const LITERAL = "new URL('x2i_web_bg.wasm', import.meta.url)";
const beside = {
  name: 'wasm-beside-the-worker',
  transform(code, id) {
    if (!id.endsWith('x2i_web.js')) return null;
    if (!code.includes(LITERAL)) throw new Error(`x2i_web.js has no ${LITERAL}`);
    return code.replace(LITERAL, "new URL('./wasm/x2i_web_bg.wasm', import.meta.url)");
  },
};

async function bundle(name, banner = '') {
  const input = fileURLToPath(new URL(name, dist));
  const built = await rolldown({ input, platform: 'browser', plugins: [beside], treeshake: true, logLevel: 'warn' });
  const { output } = await built.generate({ format: 'esm', minify: true, comments: { legal: false } });
  await built.close();
  const [chunk, ...others] = output;
  if (others.length > 0) throw new Error(`${name} became ${output.length} files`);
  await writeFile(input, banner + chunk.code);
}

const manifest = new URL('../node_modules/mediabunny/package.json', import.meta.url);
const { version } = JSON.parse(await readFile(manifest, 'utf8'));
const source = `https://www.npmjs.com/package/mediabunny/v/${version}`;

await bundle('worker.js');
await bundle(
  'demux.js',
  `/*! Has parts of mediabunny ${version}, unchanged, under MPL-2.0 (https://mozilla.org/MPL/2.0/). Source: ${source} */\n`,
);
// Its types are mediabunny's, and no caller needs them.
await rm(new URL('demux.d.ts', dist));
