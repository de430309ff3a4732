/**
 * The built demo page as GitHub Pages would serve it: text and WebAssembly as gzip, everything kept for ten minutes.
 *
 * @module
 */

import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { BUILT } from './demo.ts';
import { bytesContent, fileContent, pathOf, send, serve, type Server } from './server.ts';

/** What it compresses. Weights are not text. */
const COMPRESSED = ['.css', '.html', '.js', '.json', '.svg', '.wasm', '.webmanifest'];
const KEPT = 'max-age=600';

/** Starts the server. */
export async function serveAsPages(): Promise<Server> {
  const files = (await readdir(BUILT, { recursive: true })).filter((name) => COMPRESSED.includes(extname(name)));
  const compressed = new Map<string, { bytes: Buffer; type: string | undefined }>();
  for (const name of files) {
    const type = (await fileContent(join(BUILT, name)))?.type;
    compressed.set(`/${name}`, { bytes: gzipSync(await readFile(join(BUILT, name))), type });
  }
  return serve({
    folders: { '/': BUILT },
    headers: { 'Cache-Control': KEPT, 'Last-Modified': new Date(2026, 0, 1).toUTCString() },
    hooks: [
      async (request, response) => {
        const path = pathOf(request);
        const found = compressed.get(path.endsWith('/') ? `${path}index.html` : path);
        if (found === undefined || request.headers.range !== undefined) return false;
        response.setHeader('Content-Encoding', 'gzip');
        await send(request, response, bytesContent(found.bytes, found.type));
        return true;
      },
    ],
  });
}
