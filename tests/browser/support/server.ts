/**
 * A static web server for tests: several folders on one port, with range requests, correct types, and hooks that
 * answer instead of a file. It keeps a list of what was asked, so that a test can say "nothing was downloaded twice".
 *
 * It leaves out caching headers, compression and TLS (`localhost` is a secure context without).
 *
 * @module
 */

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.gguf': 'application/octet-stream',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** Bytes that need not exist anywhere: a file, a buffer, or a generator of terabytes. */
export interface Content {
  size: number;
  type?: string;
  /** The bytes from `start` up to and without `end`. */
  read(start: number, end: number): Readable;
}

/** Answers itself and returns true, or returns false (at once or later) to let the next one answer. */
export type Hook = (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>;

export interface ServerOptions {
  /** Folders by the path they appear under (`/`, `/node_modules/`); the longest path that fits answers. */
  folders?: Record<string, string>;
  /** Asked in order before the folders. */
  hooks?: Hook[];
  /** Added to every answer, such as a Content-Security-Policy or CORS. */
  headers?: Record<string, string>;
}

/** One request that was answered. */
export interface Request {
  method: string;
  path: string;
  range?: string;
}

export interface Server {
  /** `http://localhost:PORT`, without a slash at the end. */
  readonly url: string;
  /** What was asked so far, in order; a test may empty it. */
  readonly requests: Request[];
  /** Asked before all others; may be changed between requests. */
  readonly hooks: Hook[];
  close(): Promise<void>;
}

/** Starts a server on a free port of this machine. */
export async function serve(options: ServerOptions): Promise<Server> {
  const requests: Request[] = [];
  const hooks = [...(options.hooks ?? [])];
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(options.headers ?? {})) response.setHeader(name, value);
    requests.push(record(request));
    answer(request, response, hooks, options.folders ?? {}).catch((error: unknown) => {
      // A reader that goes away in the middle is what aborts look like from here.
      if (!response.headersSent) response.writeHead(500).end(String(error));
      else response.destroy();
    });
  });
  await new Promise<void>((listening) => server.listen(0, 'localhost', listening));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://localhost:${port}`,
    requests,
    hooks,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

/** A hook that serves `content` under `path`. */
export function contentAt(path: string, content: Content): Hook {
  return async (request, response) => {
    if (pathOf(request) !== path) return false;
    await send(request, response, content);
    return true;
  };
}

/** Sends the whole or the range that was asked for, or 416. */
export async function send(request: IncomingMessage, response: ServerResponse, content: Content): Promise<void> {
  const range = rangeOf(request.headers.range, content.size);
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('Content-Type', content.type ?? 'application/octet-stream');
  if (range === 'unsatisfiable') {
    response.writeHead(416, { 'Content-Range': `bytes */${content.size}` }).end();
    return;
  }
  const [start, end] = range ?? [0, content.size];
  const part = range && { 'Content-Range': `bytes ${start}-${end - 1}/${content.size}` };
  response.writeHead(range ? 206 : 200, { 'Content-Length': end - start, ...part });
  if (request.method === 'HEAD' || start === end) response.end();
  else await pipeline(content.read(start, end), response);
}

/** A file as content; undefined where there is none. */
export async function fileContent(path: string): Promise<Content | undefined> {
  const facts = await stat(path).catch(() => undefined);
  if (facts?.isDirectory()) return fileContent(join(path, 'index.html'));
  if (!facts?.isFile()) return undefined;
  return {
    size: facts.size,
    type: TYPES[extname(path)] ?? 'application/octet-stream',
    // `end` of createReadStream is the last byte itself.
    read: (start, end) => createReadStream(path, { start, end: end - 1 }),
  };
}

/** A buffer as content. */
export function bytesContent(bytes: Uint8Array, type?: string): Content {
  return { size: bytes.length, ...(type && { type }), read: (start, end) => Readable.from([bytes.subarray(start, end)]) };
}

/** The path of a request, decoded, without its query. */
export function pathOf(request: IncomingMessage): string {
  return decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  hooks: Hook[],
  folders: Record<string, string>,
): Promise<void> {
  for (const hook of hooks) if (await hook(request, response)) return;
  const file = fileOf(pathOf(request), folders);
  const content = file && (await fileContent(file));
  if (content) await send(request, response, content);
  // Browsers ask for it unasked, and its absence would be a console error.
  else if (pathOf(request) === '/favicon.ico') response.writeHead(204).end();
  else response.writeHead(404, { 'Content-Type': 'text/plain' }).end('not found');
}

function fileOf(path: string, folders: Record<string, string>): string | undefined {
  const [longest] = Object.keys(folders)
    .filter((at) => path.startsWith(at))
    .sort((a, b) => b.length - a.length);
  // `normalize` of a rooted path cannot climb above it.
  return longest && join(folders[longest] as string, normalize(`/${path.slice(longest.length)}`));
}

function rangeOf(header: string | undefined, size: number): [number, number] | 'unsatisfiable' | undefined {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!found || (found[1] === '' && found[2] === '')) return undefined;
  const [first, last] = [found[1] as string, found[2] as string];
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  return start < end ? [start, end] : 'unsatisfiable';
}

function record(request: IncomingMessage): Request {
  const { range } = request.headers;
  return { method: request.method ?? 'GET', path: pathOf(request), ...(range && { range }) };
}
