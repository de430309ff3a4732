/**
 * Channels from a client to a host: to a worker, or on the same thread.
 *
 * @module
 */

import { listenToThreads } from './alarm.js';
import { assetsOf, wasmOf } from './assets.js';
import type { WasmModule } from './contract.js';
import { toX2iError, X2iError } from './errors.js';
import { Host, type Loaded } from './host.js';
import { explain } from './left-out.js';
import type { FromHost, ToHost } from './messages.js';
import { requireThread } from './place.js';
import { isBlocked, watchPolicy } from './policy.js';
import { spawn } from './spawn.js';
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

/** Opens a channel, and says where its host finds the WebAssembly; tests replace it. */
export type Connect = (options: RuntimeOptions) => { channel: Channel; wasmUrl: string | undefined };

/** Opens a channel in a browser. */
export const connect: Connect = (options) => {
  const thread = requireThread(options.thread ?? 'worker');
  if (thread === 'main') return { channel: new ThreadChannel(), wasmUrl: wasmOf(options) };
  watchPolicy();
  const { worker, wasm } = assetsOf(options);
  return { channel: new WorkerChannel(spawn(worker), worker), wasmUrl: wasm };
};

/** A host in a worker. */
export class WorkerChannel implements Channel {
  onMessage: Channel['onMessage'] = () => {};
  onFailure: Channel['onFailure'] = () => {};
  readonly #worker: Worker;
  readonly #url: string;
  readonly #alarm = listenToThreads((error) => this.onFailure(toX2iError(error)));
  #heard = false;

  /** `url` is for messages. */
  constructor(worker: Worker, url: string) {
    this.#worker = worker;
    this.#url = url;
    worker.onmessage = ({ data }: MessageEvent<FromHost>) => {
      this.#heard = true;
      this.onMessage(data);
    };
    worker.onmessageerror = () => this.onFailure(new X2iError('internal', 'a message of the worker could not be read'));
    worker.onerror = (event) => {
      // If the script could not be loaded, the browser has already reported it in the console.
      event.preventDefault();
      this.onFailure(this.#heard ? crashed(event) : notStarted(this.#url, event));
    };
    if (this.#alarm) worker.postMessage({ alarm: this.#alarm.name });
  }

  post(message: ToHost, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  close(): void {
    this.#worker.terminate();
    this.#alarm?.close();
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

async function loadHere(wasmUrl: string | undefined): Promise<Loaded> {
  const [wasm, layout, { rules }] = await Promise.all([
    import('./wasm/x2i_web.js'),
    import('./wasm/variants.js'),
    import('./wasm/left-out.js'),
  ]);
  const running = await initialise(wasm as unknown as WasmModule, layout, wasmUrl);
  return { wasm: running.wasm, openThreads: async () => 1, explain: (panic) => explain(panic, rules) };
}

/** Browsers do not say why a worker did not start, but what the page is and what its policy has blocked. */
function adviceForWorker(): string {
  if (isBlocked(['worker-src', 'child-src', 'script-src', 'script-src-elem'])) {
    return "the page's Content-Security-Policy (worker-src) must allow it";
  }
  if (globalThis.crossOriginIsolated) {
    return 'this page is cross-origin isolated, so the script must be sent with Cross-Origin-Embedder-Policy: require-corp';
  }
  return "is a copy of @x2i/web's dist/worker.js there, and does the page's Content-Security-Policy allow it? workerUrl names another copy";
}

function crashed(event: ErrorEvent): X2iError {
  return new X2iError('internal', `the worker crashed: ${event.message}`, { cause: event.error });
}

function notStarted(url: string, event: ErrorEvent): X2iError {
  const reason = event.message ? `: ${event.message}` : '';
  return new X2iError('config', `the worker ${url} did not start${reason}; ${adviceForWorker()}`);
}
