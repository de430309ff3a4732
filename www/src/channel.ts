/**
 * Channels from a client to a host: to a worker, or on the same thread.
 *
 * @module
 */

import type { WasmModule } from './contract.js';
import { X2iError } from './errors.js';
import { absolute, here } from './here.js';
import { Host } from './host.js';
import type { FromHost, ToHost } from './messages.js';
import { isBlocked, watchPolicy } from './policy.js';
import type { RuntimeOptions } from './types.js';
import { initialise } from './wasm.js';

/** Carries messages in order. */
export interface Channel {
  post(message: ToHost, transfer?: Transferable[]): void;
  /** The client sets it before it posts. */
  onMessage: (message: FromHost) => void;
  /** Called when the host is gone: it could not start, or crashed. */
  onFailure: (error: X2iError) => void;
  close(): void;
}

/** Opens a channel; tests replace it. */
export type Connect = (options: RuntimeOptions) => Channel;

export const connect: Connect = (options) =>
  options.thread === 'main' ? new ThreadChannel() : new WorkerChannel(startWorker(options.workerUrl));

/** A host in a worker. */
export class WorkerChannel implements Channel {
  onMessage: Channel['onMessage'] = () => {};
  onFailure: Channel['onFailure'] = () => {};
  readonly #worker: Worker;
  #heard = false;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<FromHost>) => {
      this.#heard = true;
      this.onMessage(data);
    };
    worker.onmessageerror = () => this.onFailure(new X2iError('internal', 'a message of the worker could not be read'));
    worker.onerror = (event) => {
      // If the script could not be loaded, the browser has already reported it in the console.
      event.preventDefault();
      this.onFailure(this.#heard ? crashed(event) : notStarted(event));
    };
  }

  post(message: ToHost, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  close(): void {
    this.#worker.terminate();
  }
}

/** A host on this thread. Messages arrive asynchronously, so that no caller runs inside a call of the module. */
class ThreadChannel implements Channel {
  onMessage: Channel['onMessage'] = () => {};
  onFailure: Channel['onFailure'] = () => {};
  readonly #host: Host;
  #open = true;

  constructor() {
    this.#host = new Host(loadHere, (message) => {
      queueMicrotask(() => {
        if (this.#open) this.onMessage(message);
      });
    });
  }

  post(message: ToHost): void {
    this.#host.receive(message);
  }

  close(): void {
    this.#open = false;
    this.#host.close();
  }
}

async function loadHere(wasmUrl: string | undefined): Promise<WasmModule> {
  const wasm: unknown = await import('./wasm/x2i_web.js');
  return initialise(wasm as WasmModule, wasmUrl);
}

function startWorker(workerUrl: string | URL | undefined): Worker {
  watchPolicy();
  const url = workerUrl === undefined ? foreignWorker() : absolute(workerUrl);
  // Bundlers recognize only this expression.
  if (url === undefined) return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  if (new URL(url).origin === globalThis.location?.origin) return new Worker(url, { type: 'module' });
  // A browser starts no worker from another origin, but a worker of this page may import its script.
  const script = new Blob([`import ${JSON.stringify(url)};`], { type: 'text/javascript' });
  const blobUrl = URL.createObjectURL(script);
  const worker = new Worker(blobUrl, { type: 'module' });
  // The constructor resolves the URL, but browsers fetch it later.
  setTimeout(() => URL.revokeObjectURL(blobUrl), 60_000);
  return worker;
}

/** The worker's URL when these modules come, unbundled, from another origin. */
function foreignWorker(): string | undefined {
  const foreign = /^https?:/.test(here) && new URL(here).origin !== globalThis.location?.origin;
  return foreign ? new URL('./worker.js', here).href : undefined;
}

/** Browsers do not say why a worker did not start, but what the page is and what its policy has blocked. */
function adviceForWorker(): string {
  if (isBlocked(['worker-src', 'child-src', 'script-src', 'script-src-elem'])) {
    return "the page's Content-Security-Policy (worker-src) must allow it";
  }
  if (globalThis.crossOriginIsolated) {
    return 'this page is cross-origin isolated, so the script must be sent with Cross-Origin-Embedder-Policy: require-corp';
  }
  return "set workerUrl to its URL, and let the page's Content-Security-Policy (worker-src) allow it";
}

function crashed(event: ErrorEvent): X2iError {
  return new X2iError('internal', `the worker crashed: ${event.message}`, { cause: event.error });
}

function notStarted(event: ErrorEvent): X2iError {
  const reason = event.message ? `: ${event.message}` : '';
  return new X2iError('config', `the worker's script did not start${reason}; ${adviceForWorker()}`);
}
