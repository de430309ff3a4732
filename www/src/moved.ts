/**
 * Files that the development servers of Vite 5 to 7 leave behind: they move a package's modules to
 * `node_modules/.vite/deps/`, and `new URL('./file', import.meta.url)` then points beside the moved module.
 *
 * The file is mostly in the package's own folder next to `.vite`. In a workspace whose packages are further up, the servers
 * of Vite 6 and 7 tell where that is.
 *
 * @module
 */

import { here } from './here.js';

/** The folder of moved modules; in it, `node_modules/`, and in that the server's base. */
const MOVED = /^(((.*?\/)(?:@fs\/.*\/)?node_modules\/)\.vite\/deps[^/]*\/)[^/]*$/;

/** A file of a package. */
export interface PackageFile {
  package: string;
  /** Its path in the folder of the module that names it. */
  path: string;
  /** That module's folder in the package: empty, or with a slash at its end. */
  folder: string;
  /** Its name in the package's `exports`. */
  name: string;
}

/** The address of a file whose literal is `url`. */
export async function unmoved(url: string, { package: of, path, folder, name }: PackageFile): Promise<string> {
  const [, deps, modules, base] = MOVED.exec(here.replace(/[?#].*$/, '')) ?? [];
  if (base === undefined || url !== `${deps}${path}`) return url;
  const usual = `${modules}${of}/${folder}${path}`;
  return (await isThere(usual)) ? usual : ((await asked(`${base}@id/${of}/${name}?import&url`, base)) ?? usual);
}

/** Whether the server has this file; for what it does not have, it may send the page. */
async function isThere(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { method: 'HEAD' });
    return answer.ok && !answer.headers.get('Content-Type')?.startsWith('text/html');
  } catch {
    return false;
  }
}

async function asked(url: string, base: string): Promise<string | undefined> {
  try {
    const module: { default: string } = await import(/* @vite-ignore */ /* webpackIgnore: true */ url);
    return new URL(module.default, base).href;
  } catch {
    return undefined;
  }
}
