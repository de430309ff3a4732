/**
 * How a thread of the CPU tells the page that it ended.
 *
 * The worker that started the thread hears nothing: it waits in the module for the thread's part of a product.
 *
 * @module
 */

import type { ErrorObject } from './contract.js';

/** The page's side; undefined where a page has no threads. */
export function listenToThreads(onCrash: (error: ErrorObject) => void): BroadcastChannel | undefined {
  if (globalThis.crossOriginIsolated !== true) return undefined;
  const alarm = new BroadcastChannel(`x2i-threads-${crypto.randomUUID()}`);
  alarm.onmessage = ({ data }: MessageEvent<ErrorObject>) => onCrash(data);
  return alarm;
}

/** The thread's side; `name` is the page's channel. */
export function tellOfCrash(name: string, thrown: unknown): void {
  const message = `a thread of the CPU ended: ${thrown instanceof Error ? thrown.message : thrown}`;
  new BroadcastChannel(name).postMessage({ code: 'internal', message } satisfies ErrorObject);
}
