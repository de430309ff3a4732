/**
 * Starts the WebAssembly module that wasm-bindgen wrote.
 *
 * The module's own `new URL('x2i_web_bg.wasm', import.meta.url)` finds the file; `wasmUrl` is for pages that keep it
 * elsewhere.
 *
 * @module
 */

import type { WasmModule } from './contract.js';
import { X2iError } from './errors.js';

/** Downloads and compiles the module; later calls return the same instance. */
export async function initialise(wasm: WasmModule, wasmUrl: string | undefined): Promise<WasmModule> {
  try {
    await wasm.default(wasmUrl === undefined ? {} : { module_or_path: wasmUrl });
  } catch (cause) {
    const place = wasmUrl ?? 'x2i_web_bg.wasm';
    throw new X2iError('network', `the WebAssembly module ${place} can't be loaded: ${cause}`, { cause });
  }
  return wasm;
}
