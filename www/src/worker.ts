/**
 * The entry of the worker: a host that uses the worker's messages.
 *
 * The module is imported statically, since bundlers can't split classic workers.
 *
 * @module
 */

import type { WasmModule } from './contract.js';
import { Host } from './host.js';
import { explain } from './left-out.js';
import type { FromHost, ToHost } from './messages.js';
import { becomeThread, openThreads, type ThreadStart } from './threads.js';
import { rules } from './wasm/left-out.js';
import * as layout from './wasm/variants.js';
import * as wasm from './wasm/x2i_web.js';
import { initialise } from './wasm.js';

/** The used part of `DedicatedWorkerGlobalScope`; its types conflict with the page's. */
interface Scope {
  postMessage(message: FromHost | 'ready', transfer: Transferable[]): void;
  addEventListener(type: 'message', listener: (event: MessageEvent<ToHost | ThreadStart | Alarm>) => void): void;
  addEventListener(type: 'unhandledrejection', listener: (event: PromiseRejectionEvent) => void): void;
}

/** The first message in a page that may have threads: its channel for their crashes. */
interface Alarm {
  alarm: string;
}

const scope = globalThis as unknown as Scope;
let alarm: string | undefined;
const here = wasm as WasmModule;
const host = new Host(
  async (wasmUrl) => {
    const running = await initialise(here, layout, wasmUrl);
    return { wasm: here, openThreads: () => openThreads(running, alarm), explain: (panic) => explain(panic, rules) };
  },
  (message, transfer) => scope.postMessage(message, transfer),
);
scope.addEventListener('message', ({ data }) => {
  if ('thread' in data) void becomeThread(here, data, () => scope.postMessage('ready', []));
  else if ('alarm' in data) alarm = data.alarm;
  else host.receive(data);
});
// A trap in a callback of the module rejects a promise without a handler, which causes no `error` event on the page.
scope.addEventListener('unhandledrejection', ({ reason }) => {
  if (!(reason instanceof WebAssembly.RuntimeError)) return;
  scope.postMessage({ crashed: { code: 'internal', message: reason.message } }, []);
});
