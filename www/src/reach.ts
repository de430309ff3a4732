/**
 * What the caller's thread has to do with a model's files: functions of the caller's that a host in a worker can't have,
 * and storage that only a page may ask to be kept.
 *
 * @module
 */

import { X2iError } from './errors.js';
import type { SentNetwork } from './network.js';
import { serveFetch } from './proxy.js';
import type { NetworkOptions, PipelineOptions } from './types.js';

/** Downloads of so many bytes are worth asking for lasting storage. */
const LARGE = 100_000_000;

/** The caller's options for a host, what moves there with them, and what ends the caller's part. */
export async function networkOf(
  options: NetworkOptions,
): Promise<{ network?: SentNetwork; transfer: Transferable[]; close: () => void }> {
  const { headers, credentials } = options;
  const fetch = ownFetch(options);
  if (!fetch && headers === undefined && credentials === undefined) return { transfer: [], close: () => {} };
  const served = fetch && serveFetch(fetch);
  const network: SentNetwork = {
    ...(headers !== undefined && typeof headers !== 'function' && { headers: entriesOf(headers) }),
    ...(credentials !== undefined && { credentials }),
    ...(served && { port: served.port }),
  };
  return { network, transfer: served ? [served.port] : [], close: served?.close ?? (() => {}) };
}

/** The caller's `fetch`, or the browser's with headers that a function of the caller's gives. */
function ownFetch({ fetch, headers }: NetworkOptions): typeof globalThis.fetch | undefined {
  if (typeof headers !== 'function') return fetch;
  return async (input, init = {}) => {
    const all = new Headers(await headers(String(input)));
    for (const [name, value] of new Headers(init.headers)) all.set(name, value);
    return (fetch ?? globalThis.fetch)(input, { ...init, headers: all });
  };
}

function entriesOf(headers: HeadersInit): Array<[string, string]> {
  try {
    return [...new Headers(headers)];
  } catch (cause) {
    throw new X2iError('config', `headers: ${(cause as Error).message}`, { cause });
  }
}

let asked = false;

/** Asks the browser, once a page, not to drop what is being downloaded when the disk fills up. */
export function askToPersist(
  { cached, total }: { cached: boolean; total: number },
  { persist, cache }: PipelineOptions,
): void {
  if (asked || cached || cache === 'none' || !(persist ?? total >= LARGE)) return;
  asked = true;
  // Workers and old browsers have no such function; a refusal is no failure.
  void globalThis.navigator?.storage?.persist?.().catch(() => {});
}
