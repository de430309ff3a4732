/**
 * Functions without a pipeline: devices, models before their download, the cache, and the metadata of a PNG.
 *
 * @module
 */

import { locate } from './model.js';
import { checkFile, checkModel, checkName } from './options.js';
import { networkOf } from './reach.js';
import { ask, prepare } from './runtime.js';
import type {
  CachedModel,
  DeviceInfo,
  Metadata,
  ModelDescription,
  ModelLocation,
  NetworkOptions,
  RuntimeOptions,
} from './types.js';

/** Lists the CPU, and the browser's GPU adapter. */
export function listDevices(options?: RuntimeOptions): Promise<DeviceInfo[]> {
  return ask('listDevices', undefined, options);
}

/** Describes the download of a model, and the part of it that is in the cache. */
export async function describeModel(
  location: ModelLocation,
  options: RuntimeOptions & NetworkOptions = {},
): Promise<ModelDescription> {
  checkModel(location);
  await prepare(options);
  const model = await locate(location, options.hubUrl);
  const { network, transfer, close } = await networkOf(options);
  try {
    return await ask('describeModel', { model, ...(network && { network }) }, options, transfer);
  } finally {
    close();
  }
}

/** Lists the models in this origin's cache. */
export function cachedModels(options?: RuntimeOptions): Promise<CachedModel[]> {
  return ask('cachedModels', undefined, options);
}

/** Deletes a model from the cache, if it is there; `cache-unavailable` while it is downloaded. */
export async function deleteCachedModel(name: string, options?: RuntimeOptions): Promise<void> {
  checkName(name);
  return ask('deleteCachedModel', { name }, options);
}

/** Reads the metadata of a PNG; undefined if x2i did not write it. */
export async function readMetadata(png: Blob, options?: RuntimeOptions): Promise<Metadata | undefined> {
  checkFile(png);
  return ask('readMetadata', { png }, options);
}
