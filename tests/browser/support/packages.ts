/**
 * The packages as a developer gets them: packed, and installed into a folder outside the repository.
 *
 * @module
 */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The repository's root. */
export const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));
const CONSUMERS = fileURLToPath(new URL('../consumers/', import.meta.url));

/** A package as `npm publish` would send it. */
export interface Tarball {
  path: string;
  /** Paths in it, in order. */
  files: string[];
  bytes: number;
  unpackedBytes: number;
}

/** Packs a folder of the repository (`www`). */
export async function pack(folder: string, into: string): Promise<Tarball> {
  if (!existsSync(join(REPOSITORY, 'www/dist/wasm/x2i_web_bg.wasm'))) {
    throw new Error('www/dist is not built: run scripts/build-web, then npm run build in www');
  }
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', into], {
    cwd: join(REPOSITORY, folder),
  });
  const [told] = Object.values(JSON.parse(stdout)) as Array<{
    filename: string;
    files: Array<{ path: string }>;
    size: number;
    unpackedSize: number;
  }>;
  if (!told) throw new Error(`npm pack told nothing of ${folder}`);
  return {
    path: join(into, told.filename),
    files: told.files.map(({ path }) => path).sort(),
    bytes: told.size,
    unpackedBytes: told.unpackedSize,
  };
}

/** An empty folder that the caller removes. */
export function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'x2i-consumer-'));
}

/** A consumer in a folder of its own, with the packages installed as npm does it. */
export async function install(consumer: string, tarballs: Tarball[]): Promise<string> {
  const folder = await temporaryFolder();
  await cp(join(CONSUMERS, consumer), folder, { recursive: true });
  const flags = ['--no-audit', '--no-fund', '--no-package-lock', '--prefer-offline'];
  await run('npm', ['install', ...flags, ...tarballs.map(({ path }) => path)], { cwd: folder });
  return folder;
}

export function remove(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true });
}

/** Runs a program of this folder's node_modules (`vite`) in `folder`, and gives what it printed. */
export async function runTool(folder: string, name: string, ...args: string[]): Promise<string> {
  const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
  const { default: facts } = await import(manifest, { with: { type: 'json' } });
  const script = typeof facts.bin === 'string' ? facts.bin : facts.bin[name];
  const { stdout, stderr } = await run(process.execPath, [join(dirname(manifest), script), ...args], { cwd: folder });
  return stdout + stderr;
}
