/**
 * The packages as a developer gets them: packed, and installed into a folder outside the repository.
 *
 * @module
 */

import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

/** What a consumer is made of. */
export interface Consumer {
  /** Its folder in `consumers/`. */
  folder: string;
  /** The folder of its `package.json` and lock, if it is another one: consumers that differ in a version alone. */
  versions?: string;
}

/** A consumer in a folder of its own, with the packages installed as npm does it and its tools at their locked versions. */
export async function install({ folder: name, versions = name }: Consumer, tarballs: Tarball[]): Promise<string> {
  const folder = await temporaryFolder();
  await cp(join(CONSUMERS, name), folder, { recursive: true });
  if (versions !== name) await cp(join(CONSUMERS, versions), folder, { recursive: true });
  await cp(join(CONSUMERS, 'paint.js'), join(folder, 'src/paint.js'));
  const flags = ['--no-audit', '--no-fund', '--prefer-offline', '--no-save'];
  await run('npm', ['install', ...flags, ...tarballs.map(({ path }) => path)], { cwd: folder });
  return folder;
}

/** Runs a script of a consumer's `package.json`, and gives what it printed. */
export async function runScript(folder: string, script: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await run('npm', ['run', '--silent', script, '--', ...args], { cwd: folder, env: toolsEnv() });
  return stdout + stderr;
}

/** A server that a consumer's script runs. */
export interface Running {
  /** Without a slash at its end. */
  url: string;
  close(): Promise<void>;
}

/** Starts a script that serves on the port it is told, and waits until it answers. */
export async function startScript(folder: string, script: string, ...args: string[]): Promise<Running> {
  const port = await freePort();
  const started = spawn('npm', ['run', '--silent', script, '--', ...args, '--port', String(port)], {
    cwd: folder,
    detached: true,
    env: toolsEnv(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  for (const stream of [started.stdout, started.stderr]) stream.on('data', (chunk) => (printed += chunk));
  const ended = new Promise<void>((resolve) => started.once('exit', () => resolve()));
  const url = `http://localhost:${port}`;
  const until = Date.now() + 120_000;
  for (;;) {
    const answers = await fetch(url).then(() => true, () => false);
    if (answers) break;
    if (started.exitCode !== null || Date.now() > until) throw new Error(`${script} does not answer: ${printed}`);
    await new Promise((later) => setTimeout(later, 200));
  }
  return {
    url,
    close: async () => {
      // npm, its shell and the tool are one group.
      if (started.exitCode === null) process.kill(-(started.pid as number), 'SIGTERM');
      await ended;
    },
  };
}

function toolsEnv(): NodeJS.ProcessEnv {
  return { ...process.env, NEXT_TELEMETRY_DISABLED: '1', CI: '1', FORCE_COLOR: '0' };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, 'localhost', listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

export function remove(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
}
