/**
 * What can be asked without a pipeline: devices, models before their download, the cache, a PNG's metadata.
 *
 * @module
 */

import { locate } from './model.js';
import { ask } from './runtime.js';
import type { CachedModel, DeviceInfo, Metadata, ModelDescription, ModelLocation, RuntimeOptions } from './types.js';

/** The CPU, and the adapters that the browser offers. */
export function listDevices(options?: RuntimeOptions): Promise<DeviceInfo[]> {
  return ask('listDevices', undefined, options);
}

/** What a model would download, and what of it is in the cache. */
export async function describeModel(location: ModelLocation, options?: RuntimeOptions): Promise<ModelDescription> {
  return ask('describeModel', { model: await locate(location) }, options);
}

/** The models in this origin's cache. */
export function cachedModels(options?: RuntimeOptions): Promise<CachedModel[]> {
  return ask('cachedModels', undefined, options);
}

/** Deletes a model from the cache; one that is not there is no error. */
export function deleteCachedModel(name: string, options?: RuntimeOptions): Promise<void> {
  return ask('deleteCachedModel', { name }, options);
}

/** What a PNG says about its making; undefined for one that x2i did not write. */
export function readMetadata(png: Blob, options?: RuntimeOptions): Promise<Metadata | undefined> {
  return ask('readMetadata', { png }, options);
}
