/**
 * Requests of a model's files: with the caller's headers and credentials, by the caller's own `fetch`, and with a
 * sentence that says why one failed.
 *
 * It runs beside the WebAssembly module. Not here: ranges, hashes and what is kept, which are the module's.
 *
 * @module
 */

import type { FetchFile, ModelReference } from './contract.js';
import { X2iError } from './errors.js';
import { isBlocked, watchPolicy } from './policy.js';
import { fetchThrough } from './proxy.js';

/** What a host needs to ask for files. Functions stay on the caller's thread, behind a port. */
export interface SentNetwork {
  headers?: Array<[string, string]>;
  credentials?: RequestCredentials;
  /** Answers requests in place of `fetch`. */
  port?: MessagePort;
}

/** The module's function for requests. */
export function fetcher(model: ModelReference, network: SentNetwork = {}): FetchFile {
  watchPolicy();
  const origins = originsOf(model);
  const ask = network.port ? fetchThrough(network.port) : undefined;
  return async (url, { range, fresh, signal }) => {
    const headers = new Headers(origins.has(originOf(url)) ? network.headers : []);
    if (range !== undefined) headers.set('range', range);
    const init: RequestInit = { headers, signal: signal ?? null };
    // What the caller sends to the model's own servers is nobody else's business.
    if (network.credentials && origins.has(originOf(url))) init.credentials = network.credentials;
    if (fresh) init.cache = 'no-cache';
    const response = ask ? await askCaller(ask, url, init) : await askServer(url, init);
    return checked(url, response, network);
  };
}

/** An address for messages: a query may hold a key. */
function shown(url: string): string {
  return url.replace(/[?#].*$/s, '');
}

function originsOf({ base, files = {} }: ModelReference): Set<string> {
  return new Set([...(base === undefined ? [] : [base]), ...Object.values(files)].map(originOf));
}

function originOf(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return '';
  }
}

async function askCaller(ask: typeof fetch, url: string, init: RequestInit): Promise<Response> {
  try {
    return await ask(url, init);
  } catch (cause) {
    if (init.signal?.aborted) throw aborted();
    throw new X2iError('network', `${shown(url)}: your \`fetch\` failed: ${reasonOf(cause)}`, { cause });
  }
}

async function askServer(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (cause) {
    if (init.signal?.aborted) throw aborted();
    throw await blame(url, init, cause);
  }
}

function aborted(): X2iError {
  return new X2iError('aborted', 'aborted');
}

function reasonOf(thrown: unknown): string {
  return (thrown as Error | undefined)?.message || String(thrown ?? 'no reason given');
}

/** Refuses answers that are no file. Only `network` is worth another attempt. */
function checked(url: string, response: Response, { headers, credentials }: SentNetwork): Response {
  const { status } = response;
  const at = shown(url);
  if (status === 200 || status === 206) {
    // Servers of single-page apps, and log-in pages, answer so for whatever they do not have.
    if (!/^text\/html\b/i.test(response.headers.get('content-type') ?? '')) return response;
    void response.body?.cancel().catch(() => {});
    const reason = 'the server answered with a web page (text/html): the file is not there, or behind a log-in';
    throw new X2iError('missing-file', `${at}: ${reason}`);
  }
  void response.body?.cancel().catch(() => {});
  if (status === 404 || status === 410) throw new X2iError('missing-file', `${at}: the server answered ${status}`);
  if (status === 401 || status === 403) {
    const sent = headers?.length || credentials === 'include';
    const advice = sent
      ? 'what `headers` or `credentials` send is not enough'
      : 'it is private, gated or not there; `headers` may send a key';
    throw new X2iError('missing-file', `${at}: the server answered ${status}: ${advice}`);
  }
  throw new X2iError('network', `${at}: the server answered ${status}`);
}

/** The error for a `fetch` that failed. Browsers tell a script no reason, so the possible ones are tried. */
async function blame(url: string, init: RequestInit, cause: unknown): Promise<X2iError> {
  const at = shown(url);
  const origin = originOf(url);
  const page = globalThis.location?.origin ?? 'null';
  const config = (reason: string): X2iError => new X2iError('config', `${at}: ${reason}`, { cause });
  // The event of a violation comes a moment after the failure.
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (isBlocked(['connect-src'], url)) {
    return config(`the page's Content-Security-Policy forbids it; add ${origin} to connect-src`);
  }
  if (globalThis.isSecureContext && page.startsWith('https:') && url.startsWith('http:') && !isLocal(url)) {
    return config(`an https page can't read http addresses; serve ${origin} by https`);
  }
  if (origin !== page && (await answers(url))) {
    const names = [...new Headers(init.headers).keys()].filter((name) => name !== 'range');
    const extras = [
      ...(names.length > 0 ? [`Access-Control-Allow-Headers: ${names.join(', ')} (also to OPTIONS)`] : []),
      ...(init.credentials === 'include' ? ['Access-Control-Allow-Credentials: true'] : []),
    ];
    const allow = `Access-Control-Allow-Origin: ${page}`;
    return config(
      `the server ${origin} must send ${[allow, ...extras].join(', ')}; without it the browser keeps the file from this page`,
    );
  }
  const maybe = origin === page ? '' : `, or ${origin} sends no Access-Control-Allow-Origin`;
  const reason = globalThis.navigator?.onLine === false ? 'there is no network' : `the server can't be reached${maybe}`;
  return new X2iError('network', `${at}: ${reason} (${reasonOf(cause)})`, { cause });
}

/** Whether a server answers at all, to a request whose answer nobody may read. */
async function answers(url: string): Promise<boolean> {
  const stop = new AbortController();
  try {
    await fetch(url, { mode: 'no-cors', credentials: 'omit', signal: stop.signal });
    return true;
  } catch {
    return false;
  } finally {
    stop.abort();
  }
}

function isLocal(url: string): boolean {
  return /^(localhost|127\.|\[::1\])/.test(new URL(url).host);
}
