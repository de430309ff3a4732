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
  try {
    return new Worker(trusted(isOwn(url) ? url : importing(url)), { type: 'module', name: 'x2i' });
  } catch (cause) {
    const remedy = 'trustedTypes' in globalThis && !policy ? `allow \`trusted-types ${POLICY}\`, or use` : 'use';
    throw new X2iError('config', `the page may not start the worker ${url}: ${cause}; ${remedy} thread 'main'`, {
      cause,
    });
  }
}

/** True for scripts of the page's own origin; a sandboxed page has none. */
function isOwn(url: string): boolean {
  return !isSandboxed() && new URL(url).origin === globalThis.origin;
}

function isSandboxed(): boolean {
  return globalThis.origin === 'null';
}

/** A script of this page that imports `url`: a browser starts no worker from another origin. */
function importing(url: string): string {
  const script = `import ${JSON.stringify(url)};`;
  // The worker of a page without an origin has none either, and can't read the page's blobs.
  if (isSandboxed()) return `data:text/javascript,${encodeURIComponent(script)}`;
  const blob = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  setTimeout(() => URL.revokeObjectURL(blob), BLOB_MS);
  return blob;
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
