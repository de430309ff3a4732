/**
 * X2I in a browser: text in any language, and pictures, become a picture, on WebGPU or in WebAssembly.
 *
 * {@link createPipeline} is the way in.
 *
 * @module
 */

export { X2iError, type X2iErrorCode } from './errors.js';
export { createPipeline } from './pipeline.js';
export { cachedModels, deleteCachedModel, describeModel, listDevices, readMetadata } from './tools.js';
export type * from './types.js';
