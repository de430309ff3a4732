/**
 * Where this code and its page are.
 *
 * @module
 */

/** The URL of this module, spelt so that bundlers leave it alone; webpack puts a `file:` URL here. */
export const here: string = import.meta.url;

/** A URL as a worker can use it, whose own base is another. */
export function absolute(url: string | URL): string {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  return new URL(url, base).href;
}
