/** The types of what `scripts/wasm/left-out.mjs` writes beside the module. */

/** Regular expressions of functions' names, by the line of `web/never-run.txt`. */
export declare const rules: Record<string, string>;
