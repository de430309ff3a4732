/**
 * The URLs of the two files that are no modules of this package: the worker's script and the WebAssembly.
 *
 * Each is named by one literal `new URL(..., import.meta.url)`, which bundlers turn into the address of their copy. The
 * script is complete in itself, so a copy of it works anywhere; the page tells it where the WebAssembly is. Turbopack's
 * addresses are relative to the page.
 *
 * @module
 */

import { absolute } from './here.js';
import { unmoved } from './moved.js';
import type { RuntimeOptions } from './types.js';

/** Absolute URLs. */
export interface Assets {
  worker: string;
  /** Undefined if the script shall look beside itself. */
  wasm: string | undefined;
}

const DIST = { package: '@x2i/web', folder: 'dist/' };

let own: { worker: string; wasm: string } | undefined;

/** Finds this package's own files; needed once, before a channel is opened. */
export async function findAssets(): Promise<void> {
  if (own) return;
  const { worker, wasm } = literals();
  own = {
    worker: await unmoved(worker, { ...DIST, path: 'worker.js', name: 'worker' }),
    wasm: await unmoved(wasm, { ...DIST, path: 'wasm/x2i_web_bg.wasm', name: 'wasm' }),
  };
}

/** Where the files are, by the options, else by the bundler, else beside this code. */
export function assetsOf({ workerUrl, wasmUrl }: RuntimeOptions): Assets {
  const { worker, wasm } = own ?? literals();
  return {
    worker: workerUrl === undefined ? worker : absolute(workerUrl),
    // A script that the caller put elsewhere has its WebAssembly there, too.
    wasm: wasmUrl !== undefined ? absolute(wasmUrl) : workerUrl === undefined ? wasm : undefined,
  };
}

/** The WebAssembly, for this thread. */
export function wasmOf({ wasmUrl }: RuntimeOptions): string {
  return wasmUrl === undefined ? (own ?? literals()).wasm : absolute(wasmUrl);
}

function literals(): { worker: string; wasm: string } {
  return {
    worker: absolute(new URL('./worker.js', import.meta.url).href),
    wasm: absolute(new URL('./wasm/x2i_web_bg.wasm', import.meta.url).href),
  };
}
