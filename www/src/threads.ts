/**
 * Threads for the products on the CPU: workers with the module and the memory of this one.
 *
 * Only in a page that is isolated from other origins (COOP and COEP); everything works without them, on one thread. A
 * worker of the same script as this one becomes a thread, so that bundlers have nothing more to find.
 *
 * @module
 */

import type { WasmModule } from './contract.js';
import type { Running } from './wasm.js';

/** More threads than this are slower on the small products of small models. */
const MOST_THREADS = 8;
/** A worker that did not start by then is left out. */
const PATIENCE = 5_000;

/** What a worker gets that becomes a thread. */
export interface ThreadStart {
  thread: { compiled: WebAssembly.Module; memory: WebAssembly.Memory };
}

/** Starts a thread for each other core, and opens the pool. Returns the number of threads, this one included. */
export async function openThreads({ wasm, compiled, memory, shared }: Running): Promise<number> {
  const wanted = shared ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) - 1 : 0;
  const starts = Array.from({ length: wanted }, () => startThread({ thread: { compiled, memory } }));
  const started = (await Promise.all(starts)).filter((worker) => worker !== undefined);
  if (started.length > 0) wasm.openThreads(started.length);
  return started.length + 1;
}

/** A worker that waits in the module; undefined if it can't. */
function startThread(start: ThreadStart): Promise<Worker | undefined> {
  return new Promise((resolve) => {
    const worker = new Worker(globalThis.location.href, { type: 'module', name: 'x2i thread' });
    const end = (outcome: Worker | undefined): void => {
      clearTimeout(timer);
      if (!outcome) worker.terminate();
      resolve(outcome);
    };
    const timer = setTimeout(() => end(undefined), PATIENCE);
    worker.onmessage = () => end(worker);
    worker.onerror = (event) => {
      event.preventDefault();
      end(undefined);
    };
    worker.postMessage(start);
  });
}

/** Makes this worker a thread; it never hears another message. `ready` is called before it waits. */
export async function becomeThread(wasm: WasmModule, { thread }: ThreadStart, ready: () => void): Promise<void> {
  await wasm.default({ module_or_path: thread.compiled, memory: thread.memory });
  ready();
  wasm.runThread();
}
