/**
 * X2I in a browser: generates images from text, images, videos and audio, on WebGPU or in WebAssembly.
 *
 * {@link createPipeline} is the entry point.
 *
 * @module
 */

export { X2iError, type X2iErrorCode } from './errors.js';
export { createPipeline } from './pipeline.js';
export { type Recording, type RecordingOptions, recordAudio } from './recording.js';
export { cachedModels, deleteCachedModel, describeModel, listDevices, readMetadata } from './tools.js';
export type * from './types.js';
