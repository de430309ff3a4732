/**
 * Starts the WebAssembly module that wasm-bindgen wrote.
 *
 * `wasmUrl` comes from `assets.ts`; without it the module looks beside itself.
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
    if (isForbidden(cause)) {
      const remedy = "add 'wasm-unsafe-eval' to script-src, also of the answer that brings the worker's script";
      throw new X2iError('config', `the page's Content-Security-Policy forbids WebAssembly: ${remedy}`, { cause });
    }
    const place = wasmUrl ?? 'x2i_web_bg.wasm';
    throw new X2iError('network', `the WebAssembly module ${place} can't be loaded: ${cause}`, { cause });
  }
  return wasm;
}

/** True if a Content-Security-Policy forbids to compile; browsers tell it in the message alone. */
function isForbidden(cause: unknown): boolean {
  return (
    cause instanceof WebAssembly.CompileError && /unsafe-eval|Content[ -]Security[ -]Policy|CSP/i.test(cause.message)
  );
}
