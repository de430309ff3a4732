/** Builds the page; writes the service worker's list of files and the page's content security policy. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
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

const json = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));

/** The pictures of `src/hero.ts` and the languages, so that the page is whole before its script is here. */
function prerender(): Plugin {
  const languages: Array<{ code: string; name: string }> = json('src/languages.json');
  const [hero, ...others]: [Record<string, string>, ...Array<Record<string, string>>] = json('src/examples.json');
  const tile = (name: string, words: string | undefined, lang: string) =>
    `<li><button type="button" class="example"><img class="crisp" src="/src/pictures/${name}.png" alt="" width="64" height="64" /><span lang="${lang}" dir="auto">${words}</span></button></li>`;
  const pill = ({ code, name }: { code: string; name: string }, index: number) =>
    `<label class="pill"><input type="radio" name="language" value="${code}"${index === 0 ? ' checked' : ''} /><span lang="${code}">${name}</span></label>`;
  const parts: ReadonlyArray<readonly [place: string, content: string]> = [
    ['id="hero-tiles">', languages.map(({ code }) => tile(`hero-${code}`, hero[code], code)).join('')],
    ['id="examples">', others.map(({ en }, index) => tile(`example-${index + 1}`, en, 'en')).join('')],
    ['id="languages">', languages.map(pill).join('')],
  ];
  return {
    name: 'prerender',
    transformIndexHtml: {
      order: 'pre',
      handler: (html) => parts.reduce((page, [place, content]) => page.replace(place, place + content), html),
    },
  };
}

/** Weights are the library's to keep; the worker lists everything else that was built. */
function listFiles(): Plugin {
  let folder = 'dist';
  return {
    name: 'service-worker-files',
    apply: 'build',
    configResolved: (config) => void (folder = resolve(config.root, config.build.outDir)),
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

/** Counts what a visit downloads before the model, plain and as gzip; `src/program.ts` reads it. */
function countDownload(): Plugin {
  let folder = 'dist';
  return {
    name: 'count-download',
    apply: 'build',
    configResolved: (config) => void (folder = resolve(config.root, config.build.outDir)),
    async closeBundle() {
      const assets = await readdir(join(folder, 'assets'));
      const sizes = async (pattern: RegExp) => {
        const files = await Promise.all(assets.filter((name) => pattern.test(name)).map((name) => readFile(join(folder, 'assets', name))));
        return { plain: sum(files.map(({ length }) => length)), gzip: sum(files.map((file) => gzipSync(file, { level: 9 }).length)) };
      };
      const counted = { scripts: await sizes(/^(main|worker|model-emoji)-.*\.(js|css)$/), program: await sizes(/\.wasm$/) };
      const { files }: { files: Record<string, { bytes: number }> } = json('../../core/models/emoji/model.json');
      const all = counted.scripts.gzip + counted.program.gzip + sum(Object.values(files).map(({ bytes }) => bytes));
      const page = join(folder, 'index.html');
      const meta = `<meta name="x2i-download" content='${JSON.stringify(counted)}' />`;
      const html = (await readFile(page, 'utf8')).replace('<title>', `${meta}\n    <title>`);
      await writeFile(page, html.replace('>the model</span>', `>${(all / 1e6).toFixed(1)} MB</span>`));
    },
  };
}

const sum = (numbers: number[]): number => numbers.reduce((all, one) => all + one, 0);

/**
 * The page that `x2i serve` has at `/` (`vite build --mode server`): the same code with `src/server/web.ts` in the place of
 * the library. What the page says of itself is another thing there.
 */
const SERVER_WORDS: ReadonlyArray<readonly [here: string, there: string]> = [
  ['It runs in this tab; nothing is sent anywhere.', 'It runs on this server.'],
  ['A 16 MB model that runs in this tab: 64 × 64 pixels, nothing is sent anywhere.', 'A 16 MB model that runs on this server: 64 × 64 pixels.'],
  ['The model runs in this tab; nothing is sent anywhere.', 'The model runs on this server.'],
  ['data-model="emoji"', 'data-model="other"'],
  ['<details class="download" id="download">', '<details class="download" id="download" hidden>'],
  ['This page paints with JavaScript and WebAssembly; please allow them.', 'This page paints with JavaScript; please allow it.'],
  ['Words, pictures and sounds stay on this device.', 'Words, pictures and sounds go to this server alone. <a class="link" href="docs">API</a>'],
  ['Pictures you paint stay here, on this device.', 'Pictures you paint stay here, in this browser.'],
  ['<ul class="tiles" id="tiles">', '<p class="small">The server keeps each image for an hour, unless it was started with another --keep.</p>\n      <ul class="tiles" id="tiles">'],
  ['<details id="stored-models">', '<details id="stored-models" hidden>'],
  ['<div class="field" id="device-field">', '<div class="field" id="device-field" hidden>'],
];

function serverWords(): Plugin {
  return {
    name: 'server-words',
    transformIndexHtml: {
      order: 'pre',
      handler: (html) => {
        for (const [here, there] of SERVER_WORDS) {
          if (!html.includes(here)) throw new Error(`index.html does not say: ${here}`);
          html = html.replace(here, there);
        }
        return html;
      },
    },
  };
}

const server = defineConfig({
  base: './',
  plugins: [serverWords(), prerender(), contentSecurityPolicy()],
  resolve: { alias: { '@x2i/web': fileURLToPath(new URL('src/server/web.ts', import.meta.url)) } },
  // The worker that keeps the page for visits without a network is of no use without the server.
  define: { 'import.meta.env.PROD': 'false' },
  build: {
    target: 'es2022',
    outDir: '../../native/serve/page',
    emptyOutDir: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});

const page = defineConfig({
  // The page works from any folder of a server.
  base: './',
  plugins: [prerender(), contentSecurityPolicy(), countDownload(), listFiles()],
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

export default defineConfig(({ mode }) => (mode === 'server' ? server : page));
