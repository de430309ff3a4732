/**
 * Starts clients: one for each pipeline, and a shared one for functions without a model.
 *
 * The shared client stays for a while. A pipeline that starts meanwhile takes it over, so that a page which first asks
 * for the size of a model does not load the WebAssembly module twice.
 *
 * @module
 */

import { findAssets } from './assets.js';
import { type Connect, connect as connectBrowser } from './channel.js';
import { Client } from './client.js';
import { X2iError } from './errors.js';
import { here } from './here.js';
import type { CallName, Calls, SentModel } from './messages.js';
import { checkRuntime } from './options.js';
import { requireThread } from './place.js';
import { SharedChannel } from './share.js';
import type { DeviceChoice, RuntimeOptions } from './types.js';

/** Milliseconds that the shared client stays: longer than a user takes to confirm a download. */
const IDLE_MS = 20_000;

interface Spare {
  key: string;
  client: Client;
  calls: number;
  timer?: ReturnType<typeof setTimeout>;
}

let spare: Spare | undefined;
let connect: Connect = connectBrowser;

/** Replaces the function that opens channels; for tests. */
export function connectWith(other: Connect): void {
  connect = other;
}

/** Makes channels possible; fails where none can be opened, before anything else is looked for. */
export async function prepare({ thread }: RuntimeOptions = {}): Promise<void> {
  if (connect !== connectBrowser) return;
  requireThread(thread ?? 'worker');
  await findAssets();
}

/** A client for one pipeline. */
export function takeClient(options: RuntimeOptions): Client {
  const idle = spare?.calls === 0 && spare.key === keyOf(options) && !spare.client.failure ? spare : undefined;
  if (!idle) return newClient(options);
  clearTimeout(idle.timer);
  spare = undefined;
  return idle.client;
}

/** A client for one pipeline of all tabs of this origin; see `share.ts`. */
export function joinClient(
  options: RuntimeOptions,
  { device, sent }: { device: DeviceChoice; sent: SentModel },
): Client {
  // Only pages of a secure origin have locks; others have a client each.
  if (!globalThis.navigator?.locks || typeof BroadcastChannel === 'undefined') return takeClient(options);
  // Tabs of different builds have different messages.
  const key = `x2i ${JSON.stringify([device, sent, keyOf(options), here])}`;
  const channel = new SharedChannel({ key, device, sent, start: () => newClient(options) });
  return new Client(channel, undefined);
}

/** Calls the shared client. */
export async function ask<K extends CallName>(
  call: K,
  params: Calls[K]['params'],
  options: RuntimeOptions = {},
  transfer: Transferable[] = [],
): Promise<Calls[K]['answer']> {
  checkRuntime(options);
  await prepare(options);
  const shared = share(options);
  shared.calls++;
  clearTimeout(shared.timer);
  try {
    return await shared.client.call(call, params, { transfer });
  } finally {
    shared.calls--;
    if (shared.calls === 0) shared.timer = setTimeout(() => drop(shared), IDLE_MS);
  }
}

function share(options: RuntimeOptions): Spare {
  const key = keyOf(options);
  if (spare?.key === key && !spare.client.failure) return spare;
  if (spare?.calls === 0) drop(spare);
  spare = { key, client: newClient(options), calls: 0 };
  return spare;
}

function drop(idle: Spare): void {
  if (idle.calls > 0) return;
  if (spare === idle) spare = undefined;
  clearTimeout(idle.timer);
  idle.client.close(new X2iError('closed', 'idle'));
}

function newClient(options: RuntimeOptions): Client {
  const { channel, wasmUrl } = connect(options);
  return new Client(channel, wasmUrl);
}

function keyOf({ thread, workerUrl, wasmUrl }: RuntimeOptions): string {
  return JSON.stringify([thread ?? 'worker', String(workerUrl ?? ''), String(wasmUrl ?? '')]);
}
