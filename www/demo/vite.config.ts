/** Builds the page; writes the service worker's list of files and the page's content security policy. */

import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/** Scripts and wasm from here alone; models may come from anywhere. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "media-src 'self' blob: mediastream:",
  "manifest-src 'self'",
  'connect-src * blob: data:',
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

/** In the build alone: the development server adds scripts and styles of its own. */
function contentSecurityPolicy(): Plugin {
  return {
    name: 'content-security-policy',
    apply: 'build',
    transformIndexHtml: () => [{ tag: 'meta', attrs: { 'http-equiv': 'Content-Security-Policy', content: POLICY }, injectTo: 'head-prepend' }],
  };
}

/** Weights are the library's to keep; the worker lists everything else that was built. */
function listFiles(): Plugin {
  let folder = 'dist';
  return {
    name: 'service-worker-files',
    apply: 'build',
    configResolved: (config) => void (folder = join(config.root, config.build.outDir)),
    async closeBundle() {
      const found = await readdir(folder, { recursive: true, withFileTypes: true });
      const paths = found.filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
      const kept = paths.filter((path) => path !== 'sw.js' && !/\.(gguf|map)$/.test(path)).sort();
      const hash = createHash('sha256');
      for (const path of kept) hash.update(path).update(await readFile(join(folder, path)));
      const files = kept.map((path) => (path === 'index.html' ? './' : path.split('\\').join('/')));
      const worker = join(folder, 'sw.js');
      const text = await readFile(worker, 'utf8');
      const filled = text.replace('__FILES__', JSON.stringify(files)).replace('__VERSION__', hash.digest('hex').slice(0, 16));
      await writeFile(worker, filled);
    },
  };
}

export default defineConfig({
  // The page works from any folder of a server.
  base: './',
  plugins: [contentSecurityPolicy(), listFiles()],
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    // A model's files are fetched by address, and data: addresses have no ranges.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { main: 'index.html', sw: 'src/sw.ts' },
      output: { entryFileNames: (chunk) => (chunk.name === 'sw' ? 'sw.js' : 'assets/[name]-[hash].js') },
    },
  },
});
