/**
 * Threads for the products on the CPU: workers with the module and the memory of this one.
 *
 * Only in a page that is isolated from other origins (COOP and COEP); everything works without them, on one thread. A
 * worker of the same script as this one becomes a thread, so that bundlers have nothing more to find.
 *
 * @module
 */

import { tellOfCrash } from './alarm.js';
import type { WasmModule } from './contract.js';
import type { Running } from './wasm.js';

/** More threads than this are slower on the small products of small models. */
const MOST_THREADS = 8;
/** A worker that did not start by then is left out. */
const PATIENCE = 5_000;

/** What a worker gets that becomes a thread. */
export interface ThreadStart {
  /** `alarm` is the page's channel. */
  thread: { compiled: WebAssembly.Module; memory: WebAssembly.Memory; alarm: string };
}

/**
 * Starts a thread for each other core, and opens the pool. Returns the number of threads, this one included; only this one
 * without a page that hears of crashes.
 */
export async function openThreads(
  { wasm, compiled, memory, shared }: Running,
  alarm: string | undefined,
): Promise<number> {
  if (!shared || alarm === undefined) return 1;
  const wanted = Math.min(navigator.hardwareConcurrency, MOST_THREADS) - 1;
  const starts = Array.from({ length: wanted }, () => startThread({ thread: { compiled, memory, alarm } }));
  const started = (await Promise.all(starts)).filter((worker) => worker !== undefined);
  if (started.length > 0) wasm.openThreads(started.length);
  return started.length + 1;
}

/** A worker that waits in the module; undefined if it can't. */
function startThread(start: ThreadStart): Promise<Worker | undefined> {
  return new Promise((resolve) => {
    const worker = spawnOwn();
    if (!worker) return resolve(undefined);
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

/** Another worker of this one's script; undefined where the page's policy forbids it. */
function spawnOwn(): Worker | undefined {
  try {
    return new Worker(globalThis.location.href, { type: 'module', name: 'x2i thread' });
  } catch {
    return undefined;
  }
}

/** Makes this worker a thread; it never hears another message. `ready` is called before it waits. */
export async function becomeThread(wasm: WasmModule, { thread }: ThreadStart, ready: () => void): Promise<void> {
  await wasm.default({ module_or_path: thread.compiled, memory: thread.memory });
  ready();
  try {
    wasm.runThread();
  } catch (thrown) {
    tellOfCrash(thread.alarm, thrown);
  }
}
