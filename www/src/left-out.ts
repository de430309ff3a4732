/**
 * Functions that were left out of the module.
 *
 * `scripts/wasm/cut.mjs` leaves out what no page is known to run. If such a function is run after all, the panic says the
 * line of the list that names it, and the list is beside the module, where a bundler has not moved it.
 *
 * @module
 */

import type { Running } from './wasm.js';

const PANIC = /left out of this build: line (\d+)/;

/** The panic's message, with the function's names if it is one that was left out. */
export async function explain({ url }: Pick<Running, 'url'>, panic: string): Promise<string> {
  const line = PANIC.exec(panic)?.[1];
  if (line === undefined) return panic;
  try {
    const response = await fetch(new URL('left-out.json', new URL(url, globalThis.location?.href)));
    const name = response.ok ? ((await response.json()) as string[])[Number(line) - 1] : undefined;
    return name ? `this build leaves out a function that was called, one of ${name}` : panic;
  } catch {
    return panic;
  }
}
