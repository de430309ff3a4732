/**
 * Names of functions that were left out of the module.
 *
 * `scripts/wasm/cut.mjs` leaves out what no page is known to run. If one is run after all, the panic says its number, and
 * its name is in a list beside the module, where a bundler has not moved it.
 *
 * @module
 */

import type { Running } from './wasm.js';

const PANIC = /left out of this build: function (\d+)/;

/** The panic's message, with the function's name if it is one that was left out. */
export async function explain({ url }: Pick<Running, 'url'>, panic: string): Promise<string> {
  const index = PANIC.exec(panic)?.[1];
  if (index === undefined) return panic;
  try {
    const response = await fetch(new URL('left-out.json', new URL(url, globalThis.location?.href)));
    const name = response.ok ? ((await response.json()) as Record<string, string>)[index] : undefined;
    return name ? `this build leaves out a function that was called: ${name}` : panic;
  } catch {
    return panic;
  }
}
