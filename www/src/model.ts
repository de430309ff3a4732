/**
 * Resolves a caller's {@link ModelLocation} for the module: a name, and absolute URLs.
 *
 * Not here: the content of a model folder, which the module reads from `model.json`.
 *
 * @module
 */

import type { ModelReference } from './contract.js';
import { X2iError } from './errors.js';
import { absolute, here } from './here.js';
import { unmoved } from './moved.js';
import type { ModelFiles, ModelLocation } from './types.js';

/** The package of the model `'emoji'`. */
const PACKAGE = '@x2i/model-emoji';

/** Resolves the location. It is asynchronous for `'emoji'`, whose package is imported. */
export async function locate(location: ModelLocation): Promise<ModelReference> {
  if (location === 'emoji') return fromFiles(await emojiFiles());
  if (typeof location === 'string' || location instanceof URL) return fromFolder(location);
  return fromFiles(location);
}

function fromFiles({ name, files }: ModelFiles): ModelReference {
  const urls = Object.entries(files).map(([path, url]) => [path, parse(url)]);
  return { name, files: Object.fromEntries(urls) };
}

/** The folder's URL is also the model's name, since two servers may both have a `flux`. */
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
    throw new X2iError('config', `the model's location ${url} is not a URL`, { cause });
  }
}

async function emojiFiles(): Promise<ModelFiles> {
  try {
    // Bundlers resolve this import. Inside `try`, a missing package is a warning in webpack; in Vite it is a run-time
    // error, since the package is an optional peer.
    return await foundFiles((await import('@x2i/model-emoji')).default);
  } catch {
    return emojiFilesBeside();
  }
}

/** The files where a development server has left them. */
async function foundFiles({ name, files }: ModelFiles): Promise<ModelFiles> {
  const literal = absolute(String(files['model.json']));
  const found = await unmoved(literal, {
    package: PACKAGE,
    folder: '',
    path: 'files/model.json',
    name: 'files/model.json',
  });
  if (found === literal) return { name, files };
  return { name, files: Object.fromEntries(Object.keys(files).map((path) => [path, new URL(path, found)])) };
}

/** Without a bundler or an import map: the package next to ours, as npm installs them. */
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
