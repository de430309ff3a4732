/**
 * The types of the module that wasm-bindgen writes, for the sources. `scripts/copy-wasm.js` copies the real module with
 * its own types to `dist/wasm/`.
 */

import type { WasmModule } from '../contract.js';

declare const init: WasmModule['default'];
export default init;
export declare const Session: WasmModule['Session'];
export declare const listDevices: WasmModule['listDevices'];
export declare const describeModel: WasmModule['describeModel'];
export declare const cachedModels: WasmModule['cachedModels'];
export declare const deleteCachedModel: WasmModule['deleteCachedModel'];
export declare const readMetadata: WasmModule['readMetadata'];
export declare const onPanic: WasmModule['onPanic'];
export declare const tellRelaxedSimd: WasmModule['tellRelaxedSimd'];
export declare const openThreads: WasmModule['openThreads'];
export declare const runThread: WasmModule['runThread'];
