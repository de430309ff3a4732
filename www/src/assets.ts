/**
 * The URLs of the two files that are no modules of this package: the worker's script and the WebAssembly.
 *
 * Each is named by one literal `new URL(..., import.meta.url)`, which bundlers turn into the address of their copy. The
 * script is complete in itself, so a copy of it works anywhere; the page tells it where the WebAssembly is. Turbopack's
 * addresses are relative to the page.
 *
 * @module
 */

import { absolute, here } from './here.js';
import type { RuntimeOptions } from './types.js';

/** Absolute URLs. */
export interface Assets {
  worker: string;
  /** Undefined if the script shall look beside itself. */
  wasm: string | undefined;
}

/** Where the files are, by the options, else by the bundler, else beside this code. */
export function assetsOf({ workerUrl, wasmUrl }: RuntimeOptions): Assets {
  const worker = workerUrl === undefined ? ownWorker() : absolute(workerUrl);
  if (wasmUrl !== undefined) return { worker, wasm: absolute(wasmUrl) };
  // A script that the caller put elsewhere has its WebAssembly there, too.
  return { worker, wasm: workerUrl === undefined ? ownWasm() : undefined };
}

/** The WebAssembly, for this thread. */
export function wasmOf({ wasmUrl }: RuntimeOptions): string {
  return wasmUrl === undefined ? ownWasm() : absolute(wasmUrl);
}

function ownWorker(): string {
  return unmoved(absolute(new URL('./worker.js', import.meta.url).href), 'worker.js');
}

function ownWasm(): string {
  return unmoved(absolute(new URL('./wasm/x2i_web_bg.wasm', import.meta.url).href), 'wasm/x2i_web_bg.wasm');
}

/**
 * The development servers of Vite 5 to 7 move a package's modules to `node_modules/.vite/deps/` and leave its other
 * files where they are.
 */
function unmoved(url: string, path: string): string {
  const moved = /^(.*\/node_modules\/)\.vite\/deps[^/]*\/[^/]*$/.exec(here.replace(/[?#].*$/, ''));
  const left = moved && url === new URL(path, here).href;
  return left ? `${moved[1]}@x2i/web/dist/${path}` : url;
}
