/**
 * The types under which the sources see the module that wasm-bindgen writes. `scripts/copy-wasm.js` puts the real
 * one, with its own types, into `dist/wasm/`.
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
