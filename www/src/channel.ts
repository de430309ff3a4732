/**
 * Ways from a client to a host: through a worker, or on the same thread.
 *
 * @module
 */

import type { WasmModule } from './contract.js';
import { X2iError } from './errors.js';
import { absolute, here } from './here.js';
import { Host } from './host.js';
import type { FromHost, ToHost } from './messages.js';
import type { RuntimeOptions } from './types.js';
import { initialise } from './wasm.js';

/** Carries messages in order. */
export interface Channel {
  post(message: ToHost, transfer?: Transferable[]): void;
  /** Set by the client before it posts. */
  onMessage: (message: FromHost) => void;
  /** The host is gone: it could not start, or died. */
  onFailure: (error: X2iError) => void;
  close(): void;
}

/** Opens a channel; tests put their own in its place. */
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
      // The page's console has the browser's own report already when the script could not be loaded.
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

/** A host on this thread. Messages still arrive later, so that no caller runs inside the module's own calls. */
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
  const url = workerUrl === undefined ? foreignWorker() : absolute(workerUrl);
  // Bundlers know this very expression, and no other.
  if (url === undefined) return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  if (new URL(url).origin === globalThis.location?.origin) return new Worker(url, { type: 'module' });
  // A browser starts no worker of another origin, but one of this page may import it.
  const script = new Blob([`import ${JSON.stringify(url)};`], { type: 'text/javascript' });
  const blobUrl = URL.createObjectURL(script);
  const worker = new Worker(blobUrl, { type: 'module' });
  // The URL is resolved before the constructor returns, but browsers fetch it later.
  setTimeout(() => URL.revokeObjectURL(blobUrl), 60_000);
  return worker;
}

/** The worker's URL where these modules come, unbundled, from another origin. */
function foreignWorker(): string | undefined {
  const foreign = /^https?:/.test(here) && new URL(here).origin !== globalThis.location?.origin;
  return foreign ? new URL('./worker.js', here).href : undefined;
}

function crashed(event: ErrorEvent): X2iError {
  return new X2iError('internal', `the worker crashed: ${event.message}`, { cause: event.error });
}

function notStarted(event: ErrorEvent): X2iError {
  const reason = event.message ? `: ${event.message}` : '';
  const advice = "set workerUrl to where it is, and let the page's Content-Security-Policy (worker-src) allow it";
  return new X2iError('config', `the worker's script did not start${reason}; ${advice}`);
}
