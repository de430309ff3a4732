/**
 * Starts the WebAssembly module that wasm-bindgen wrote, in the variant that this page can take.
 *
 * @module
 */

import type { WasmModule } from './contract.js';
import { X2iError } from './errors.js';
import { compile, type Layout, memoryOf, type Variant, variantHere } from './variants.js';

/** A module that runs, and what other threads need to run it too. */
export interface Running {
  wasm: WasmModule;
  compiled: WebAssembly.Module;
  memory: WebAssembly.Memory;
  /** True where other threads may have the memory. */
  shared: boolean;
}

/** Downloads, compiles and starts the module; `wasmUrl` is for pages that keep it elsewhere. */
export async function initialise(wasm: WasmModule, layout: Layout, wasmUrl: string | undefined): Promise<Running> {
  const url = wasmUrl ?? new URL('./wasm/x2i_web_bg.wasm', import.meta.url);
  const variant = variantHere();
  try {
    return await start(wasm, layout, url, variant);
  } catch (cause) {
    if (isForbidden(cause)) {
      const remedy = "add 'wasm-unsafe-eval' to script-src, also of the answer that brings the worker's script";
      throw new X2iError('config', `the page's Content-Security-Policy forbids WebAssembly: ${remedy}`, { cause });
    }
    throw new X2iError('network', `the WebAssembly module ${url} can't be loaded: ${cause}`, { cause });
  }
}

async function start(wasm: WasmModule, layout: Layout, url: string | URL, wanted: Variant): Promise<Running> {
  const { variant, memory } = reserve(layout, wanted);
  const compiled = await compile(url, layout, variant);
  await wasm.default({ module_or_path: compiled, memory });
  if (variant.relaxed) wasm.tellRelaxedSimd();
  return { wasm, compiled, memory, shared: variant.shared };
}

/** A shared memory takes all of its addresses at once, which a small machine may refuse. */
function reserve(layout: Layout, wanted: Variant): { variant: Variant; memory: WebAssembly.Memory } {
  try {
    return { variant: wanted, memory: memoryOf(layout, wanted) };
  } catch (error) {
    if (!wanted.shared) throw error;
    const variant = { ...wanted, shared: false };
    return { variant, memory: memoryOf(layout, variant) };
  }
}

/** True if a Content-Security-Policy forbids to compile; browsers tell it in the message alone. */
function isForbidden(cause: unknown): boolean {
  return (
    cause instanceof WebAssembly.CompileError && /unsafe-eval|Content[ -]Security[ -]Policy|CSP/i.test(cause.message)
  );
}
