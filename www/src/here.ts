/**
 * The URLs of this code and its page.
 *
 * @module
 */

/** The URL of this module, written so that bundlers do not change it; webpack makes it a `file:` URL. */
export const here: string = import.meta.url;

/** An absolute URL, since a worker has another base. */
export function absolute(url: string | URL): string {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  return new URL(url, base).href;
}
