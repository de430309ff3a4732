/**
 * The npm packages as their users get them: what is in them, and that three kinds of pages paint with them without
 * any configuration. Every page must paint the same picture: a red apple on blue.
 */

import type { Page } from '@playwright/test';
import { createServer } from 'vite';
import { expect, test } from './support/browser.ts';
import { install, pack, remove, runTool, temporaryFolder, type Tarball } from './support/packages.ts';
import { serve } from './support/server.ts';

const MODULES = [
  'channel',
  'client',
  'contract',
  'demux',
  'errors',
  'generation',
  'here',
  'host',
  'index',
  'inputs',
  'messages',
  'model',
  'network',
  'pictures',
  'pipeline',
  'policy',
  'progress',
  'prompt',
  'proxy',
  'rates',
  'reach',
  'recording',
  'runtime',
  'sounds',
  'tools',
  'types',
  'videos',
  'wasm',
  'worker',
];
const WEB_FILES = [
  'LICENSE-APACHE',
  'LICENSE-MIT',
  'README.md',
  ...MODULES.flatMap((module) => [`dist/${module}.d.ts`, `dist/${module}.js`]),
  'dist/wasm/x2i_web.d.ts',
  'dist/wasm/x2i_web.js',
  'dist/wasm/x2i_web_bg.wasm',
  'package.json',
];
const MODEL_FILES = [
  'LICENSE',
  'README.md',
  'files/align_net.gguf',
  'files/encoder.gguf',
  'files/flux.gguf',
  'files/model.json',
  'files/tokenizer.json',
  'files/vae.gguf',
  'index.d.ts',
  'index.js',
  'package.json',
];

/** What the README says a page must allow. */
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'";

/** Installing, bundling and painting take 5 to 11 s on two cores, and minutes beside builds. */
test.setTimeout(600_000);

let packed: string;
let web: Tarball;
let model: Tarball;
const folders: string[] = [];
/** The picture of the first page that painted; all others must be equal to it. */
let picture: string | undefined;

test.beforeAll(async () => {
  packed = await temporaryFolder();
  folders.push(packed);
  web = await pack('www', packed);
  model = await pack('www/model-emoji', packed);
});

test.afterAll(async () => {
  for (const folder of folders) await remove(folder);
});

async function consumer(name: string, ...tarballs: Tarball[]): Promise<string> {
  const folder = await install(name, tarballs);
  folders.push(folder);
  return folder;
}

/** Waits for the page's outcome. */
async function outcome(page: Page, url: string): Promise<string> {
  await page.goto(url);
  const output = page.locator('output');
  await expect(output).not.toBeEmpty({ timeout: 400_000 });
  return (await output.textContent()) ?? '';
}

/** The page painted, alone and in no special mode, what the prompt says. */
async function expectPicture(page: Page, url: string): Promise<void> {
  expect(await outcome(page, url)).toBe('done');
  expect(await page.evaluate(() => crossOriginIsolated), 'needs no COOP and COEP').toBe(false);
  const { corner, middle, all } = await page.evaluate(() => {
    const canvas = document.querySelector('canvas') as HTMLCanvasElement;
    const context = canvas.getContext('2d') as CanvasRenderingContext2D;
    const at = (x: number, y: number): number[] => [...context.getImageData(x, y, 1, 1).data];
    return { corner: at(2, 2), middle: at(canvas.width / 2, canvas.height * 0.6), all: canvas.toDataURL() };
  });
  const [cornerRed = 0, , cornerBlue = 0] = corner;
  const [middleRed = 0, , middleBlue = 0] = middle;
  expect(cornerBlue, 'the background is blue').toBeGreaterThan(cornerRed + 40);
  expect(middleRed, 'the apple is red').toBeGreaterThan(middleBlue + 40);
  picture ??= all;
  expect(all === picture, 'every page paints the same picture').toBe(true);
}

test('@x2i/web holds its modules and the WebAssembly, and nothing else', () => {
  console.log(`@x2i/web: ${kilobytes(web.bytes)} packed, ${kilobytes(web.unpackedBytes)} unpacked`);
  expect(web.files).toEqual(WEB_FILES.toSorted());
});

test('@x2i/model-emoji holds the model, and nothing else', () => {
  console.log(`@x2i/model-emoji: ${kilobytes(model.bytes)} packed, ${kilobytes(model.unpackedBytes)} unpacked`);
  expect(model.files).toEqual(MODEL_FILES.toSorted());
});

test('a page without a bundler paints, under a strict policy', async ({ page }) => {
  const folder = await consumer('plain', web, model);
  const server = await serve({ folders: { '/': folder }, headers: { 'Content-Security-Policy': POLICY } });
  await expectPicture(page, `${server.url}/index.html`);
  await server.close();
});

test('a page of another origin than the package paints', async ({ page }) => {
  const folder = await consumer('plain', web, model);
  const cdn = await serve({ folders: { '/': folder }, headers: { 'Access-Control-Allow-Origin': '*' } });
  const index = `<!doctype html><canvas></canvas><output></output><script type="module" src="${cdn.url}/main.js"></script>`;
  const server = await serve({
    hooks: [
      (request, response) => {
        if (request.url !== '/') return false;
        response.writeHead(200, { 'Content-Type': 'text/html' }).end(index);
        return true;
      },
    ],
  });
  await expectPicture(page, `${server.url}/`);
  await server.close();
  await cdn.close();
});

test('a page built by Vite paints', async ({ page }) => {
  const folder = await consumer('vite', web, model);
  await runTool(folder, 'vite', 'build');
  const server = await serve({ folders: { '/': `${folder}/dist` } });
  await expectPicture(page, `${server.url}/index.html`);
  await server.close();
});

test("a page of Vite's development server paints", async ({ page }) => {
  const folder = await consumer('vite', web, model);
  const vite = await createServer({ root: folder, configFile: false, logLevel: 'warn', server: { port: 0 } });
  await vite.listen();
  await expectPicture(page, vite.resolvedUrls?.local[0] as string);
  await vite.close();
});

test('a page built by webpack paints', async ({ page }) => {
  const folder = await consumer('webpack', web, model);
  await runTool(folder, 'webpack-cli', '--mode', 'production');
  const server = await serve({ folders: { '/': folder } });
  await expectPicture(page, `${server.url}/index.html`);
  await server.close();
});

for (const { bundler, build, pages } of [
  { bundler: 'vite', build: ['vite', 'build'], pages: 'dist' },
  { bundler: 'webpack', build: ['webpack-cli', '--mode', 'production'], pages: '' },
]) {
  test(`${bundler} builds without the model's package, whose absence is then a clear error`, async ({ page, errors }) => {
    // The browser tells of the module that is not there.
    errors.allow(/404|Failed to load|file:/);
    const folder = await consumer(bundler, web);
    const [tool = '', ...args] = build;
    await runTool(folder, tool, ...args);
    const server = await serve({ folders: { '/': `${folder}/${pages}` } });
    expect(await outcome(page, `${server.url}/index.html`)).toMatch(/^config: .*@x2i\/model-emoji.*not installed/);
    await server.close();
  });
}

function kilobytes(bytes: number): string {
  return `${(bytes / 1000).toFixed(0)} kB`;
}
