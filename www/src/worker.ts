/**
 * The worker's entry: a host whose messages are the worker's.
 *
 * The module is imported statically, since bundlers that write classic workers can't split them.
 *
 * @module
 */

import type { WasmModule } from './contract.js';
import { Host } from './host.js';
import type { FromHost, ToHost } from './messages.js';
import * as wasm from './wasm/x2i_web.js';
import { initialise } from './wasm.js';

/** The part of `DedicatedWorkerGlobalScope` that is used; its types can't stand beside the page's. */
interface Scope {
  postMessage(message: FromHost, transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent<ToHost>) => void): void;
  addEventListener(type: 'unhandledrejection', listener: (event: PromiseRejectionEvent) => void): void;
}

const scope = globalThis as unknown as Scope;
const host = new Host(
  (wasmUrl) => initialise(wasm as WasmModule, wasmUrl),
  (message, transfer) => scope.postMessage(message, transfer),
);
scope.addEventListener('message', ({ data }) => host.receive(data));
// A trap in a callback of the module rejects a promise that nobody holds; the page's `error` event hears only the rest.
scope.addEventListener('unhandledrejection', ({ reason }) => {
  if (!(reason instanceof WebAssembly.RuntimeError)) return;
  scope.postMessage({ crashed: { code: 'internal', message: reason.message } }, []);
});
