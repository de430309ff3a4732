/** The types of what `scripts/wasm/pack.mjs` writes beside the module. */

/** The file's length. */
export declare const bytes: number;
/** Where the flags of the imported memory are, and its size in pages. */
export declare const memory: { flag: number; initial: number; maximum: number };
/** The bodies of functions that need relaxed SIMD: where each begins, and its length. */
export declare const relaxed: Array<[number, number]>;
