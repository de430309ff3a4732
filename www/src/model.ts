/**
 * Resolves a caller's {@link ModelLocation} for the module: a name, and absolute URLs.
 *
 * `OWNER/NAME` is a repository of the Hugging Face Hub, as for the native program (`native/engine/src/models/hub`).
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
/** The address of the Hugging Face Hub. */
const HUB = 'https://huggingface.co';
/** An owner or a repository's name, by the Hub's rules. */
const NAME = '(?![.-])(?!.*(?:--|\\.\\.))[A-Za-z0-9_.-]{1,96}';
/** A branch, a tag or a commit. */
const REVISION = '(?!.*\\.\\.)[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*';
const REPOSITORY = new RegExp(
  `^(?:hf:)?(${NAME.replaceAll('.*', '[^/@]*')})/(${NAME.replaceAll('.*', '[^/@]*')})(?:@(${REVISION}))?$`,
);

/** Resolves the location. It is asynchronous for `'emoji'`, whose package is imported. */
export async function locate(location: ModelLocation, hubUrl: string | URL = HUB): Promise<ModelReference> {
  if (location === 'emoji') return fromFiles(await emojiFiles());
  if (typeof location === 'string') return fromHub(location, hubUrl) ?? fromFolder(location);
  if (location instanceof URL) return fromFolder(location);
  return fromFiles(location);
}

/** A repository; undefined for anything else. A folder of the page's own site begins or ends otherwise. */
function fromHub(location: string, hubUrl: string | URL): ModelReference | undefined {
  const [, owner, name, revision = 'main'] = REPOSITORY.exec(location) ?? [];
  if (owner !== undefined && name !== undefined) {
    const hub = parse(hubUrl).replace(/\/+$/, '');
    const base = `${hub}/${owner}/${name}/resolve/${encodeURIComponent(revision)}/`;
    return { name: revision === 'main' ? `hf:${owner}/${name}` : `hf:${owner}/${name}@${revision}`, base };
  }
  if (!location.startsWith('hf:')) return undefined;
  const form = 'give hf:OWNER/NAME or hf:OWNER/NAME@REVISION';
  throw new X2iError('config', `${location} is no repository of the Hub, or names files of it; ${form}`);
}

function fromFiles({ name, files }: ModelFiles): ModelReference {
  const urls = Object.entries(files).map(([path, url]) => [path, parse(url)]);
  return { name, files: Object.fromEntries(urls) };
}

const FORMS = "give 'emoji', a folder's URL, or OWNER/NAME of the Hugging Face Hub";

/** The folder's URL is also the model's name, since two servers may both have a `flux`. */
function fromFolder(folder: string | URL): ModelReference {
  if (String(folder).trim() === '') throw new X2iError('config', `model: is empty; ${FORMS}`);
  const url = new URL(parse(folder));
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  url.hash = '';
  return { name: `${url.host}${url.pathname}`.replace(/^\/+|\/+$/g, ''), base: url.href };
}

function parse(url: string | URL): string {
  try {
    return absolute(url);
  } catch (cause) {
    throw new X2iError('config', `the model's location ${url} is not a URL; ${FORMS}`, { cause });
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
