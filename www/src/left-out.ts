/**
 * Functions that were left out of the module.
 *
 * `scripts/wasm/cut.mjs` leaves out what no page is known to run. If such a function is run after all, the panic says the
 * line of the list that names it.
 *
 * @module
 */

const PANIC = /left out of this build: line (\d+)/;

/** The panic's message, with the functions' names if it is one that was left out. */
export function explain(panic: string, rules: Record<string, string>): string {
  const line = PANIC.exec(panic)?.[1];
  const name = line && rules[line];
  return name ? `this build leaves out a function that was called, one of ${name}` : panic;
}
