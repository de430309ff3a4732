/**
 * A caller's {@link ModelLocation} as the module takes it: a name, and absolute URLs.
 *
 * It knows nothing of what is in a model's folder; `model.json` says that to the module.
 *
 * @module
 */

import type { ModelReference } from './contract.js';
import { X2iError } from './errors.js';
import { absolute, here } from './here.js';
import type { ModelFiles, ModelLocation } from './types.js';

/** Finds the model; only `'emoji'` takes more than a moment, for its package is imported. */
export async function locate(location: ModelLocation): Promise<ModelReference> {
  if (location === 'emoji') return fromFiles(await emojiFiles());
  if (typeof location === 'string' || location instanceof URL) return fromFolder(location);
  return fromFiles(location);
}

function fromFiles({ name, files }: ModelFiles): ModelReference {
  const urls = Object.entries(files).map(([path, url]) => [path, parse(url)]);
  return { name, files: Object.fromEntries(urls) };
}

/** The folder's URL is its name: two servers may both have a `flux`. */
function fromFolder(folder: string | URL): ModelReference {
  const url = new URL(parse(folder));
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  url.hash = '';
  return { name: `${url.host}${url.pathname}`.replace(/^\/+|\/+$/g, ''), base: url.href };
}

function parse(url: string | URL): string {
  try {
    return absolute(url);
  } catch (cause) {
    throw new X2iError('config', `the model's location ${url} is no URL`, { cause });
  }
}

async function emojiFiles(): Promise<ModelFiles> {
  try {
    // Bundlers see this one: inside `try` webpack takes a missing package for a warning, and Vite for a run-time
    // error since it is an optional peer.
    return (await import('@x2i/model-emoji')).default;
  } catch {
    return emojiFilesBeside();
  }
}

/** Where there is neither a bundler nor an import map: the package beside ours, as npm lays them out. */
async function emojiFilesBeside(): Promise<ModelFiles> {
  const url = new URL('../../model-emoji/index.js', here).href;
  try {
    const module: { default: ModelFiles } = await import(/* @vite-ignore */ /* webpackIgnore: true */ url);
    return module.default;
  } catch (cause) {
    const message = "model 'emoji' is in the package @x2i/model-emoji, which is not installed";
    throw new X2iError('config', message, { cause });
  }
}
