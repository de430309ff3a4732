/**
 * Starts the worker: from the page's own origin, from another one, and where a page restricts its scripts.
 *
 * @module
 */

import { X2iError } from './errors.js';

/** The name of the Trusted Types policy, for `Content-Security-Policy: trusted-types`. */
const POLICY = 'x2i';

/** Milliseconds until a blob's URL is given back: the constructor resolves the URL, but browsers fetch it later. */
const BLOB_MS = 60_000;

/** Starts a module worker. */
export function spawn(url: string): Worker {
  const own = isOwn(url);
  // A browser starts no worker from another origin, but a worker of this page may import its script.
  const script = own ? url : blobUrl(`import ${JSON.stringify(url)};`);
  if (!own) setTimeout(() => URL.revokeObjectURL(script), BLOB_MS);
  try {
    return new Worker(trusted(script), { type: 'module', name: 'x2i' });
  } catch (cause) {
    const remedy = 'trustedTypes' in globalThis && !policy ? `allow \`trusted-types ${POLICY}\`, or use` : 'use';
    throw new X2iError('config', `the page may not start the worker ${url}: ${cause}; ${remedy} thread 'main'`, {
      cause,
    });
  }
}

/** True for scripts of the page's own origin; a sandboxed page has none. */
function isOwn(url: string): boolean {
  const { origin } = globalThis;
  return origin !== 'null' && new URL(url).origin === origin;
}

function blobUrl(script: string): string {
  return URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
}

/** The part of Trusted Types that is used; TypeScript's library has none of it. */
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): string };
}

let policy: ReturnType<TrustedTypes['createPolicy']> | undefined;

/** The URL as a page with Trusted Types wants it. */
function trusted(url: string): string {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  if (!trustedTypes) return url;
  try {
    policy ??= trustedTypes.createPolicy(POLICY, { createScriptURL: (script) => script });
  } catch {
    // The page allows no such policy. That matters only if it also demands one, which the constructor tells.
    return url;
  }
  return policy.createScriptURL(url);
}
