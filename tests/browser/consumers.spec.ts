/**
 * What web developers build pages with: each consumer in `consumers/` installs the packed packages, builds or serves a
 * page, and the page paints. Where a tool needs a line, it stands in that consumer's `package.json` and in the README.
 */

import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { type Consumer, install, pack, remove, runScript, startScript, temporaryFolder, type Tarball } from './support/packages.ts';
import { serve } from './support/server.ts';

/** What the README says a page must allow. */
const POLICY =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; img-src 'self' data:";


/** Installing, bundling and painting take 5 to 11 s on two cores, and minutes beside builds. */
test.setTimeout(300_000);

let packages: Tarball[];
const folders = new Map<string, Promise<string>>();
/** The picture of the first page that painted; all others must be equal to it. */
let picture: string | undefined;

test.beforeAll(async () => {
  const packed = await temporaryFolder();
  folders.set('packed', Promise.resolve(packed));
  packages = [await pack('www', packed), await pack('www/model-emoji', packed)];
});

test.afterAll(async () => {
  for (const folder of folders.values()) await remove(await folder);
});

/** A consumer is installed once for all its tests. */
function installed(consumer: Consumer): Promise<string> {
  const key = consumer.versions ?? consumer.folder;
  const folder = folders.get(key) ?? install(consumer, packages);
  folders.set(key, folder);
  return folder;
}

/** The page painted, alone and in no special mode, what the prompt says. */
async function expectPicture(page: Page, url: string): Promise<void> {
  await page.goto(url);
  const output = page.locator('output');
  await expect(output).not.toBeEmpty({ timeout: 100_000 });
  expect(await output.textContent()).toBe('done');
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

/** A page of one origin whose scripts come from another. */
async function expectPictureOf(page: Page, index: string): Promise<void> {
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
}

/** Serves what `folder` will hold as a CDN does. */
function serveCdn(folder: string): ReturnType<typeof serve> {
  return serve({ folders: { '/': folder }, headers: { 'Access-Control-Allow-Origin': '*' } });
}

test('a page without a bundler paints, under a strict policy', async ({ page }) => {
  const folder = await installed({ folder: 'plain' });
  const server = await serve({ folders: { '/': folder }, headers: { 'Content-Security-Policy': POLICY } });
  await expectPicture(page, `${server.url}/index.html`);
  await server.close();
});

test('a plain script from another origin paints', async ({ page }) => {
  const cdn = await serveCdn(await installed({ folder: 'plain' }));
  await expectPictureOf(page, `<!doctype html><canvas></canvas><output></output><script type="module" src="${cdn.url}/main.js"></script>`);
  await cdn.close();
});

/** Tools that build a page, and the folder that they build it into. */
const BUILDS: Array<Consumer & { into: string; policy?: string }> = [
  { folder: 'vite', versions: 'vite-5', into: 'dist' },
  { folder: 'vite', versions: 'vite-6', into: 'dist' },
  { folder: 'vite', versions: 'vite-7', into: 'dist' },
  { folder: 'vite', versions: 'vite-8', into: 'dist' },
  { folder: 'webpack', into: '.' },
  { folder: 'esbuild', into: '.' },
  { folder: 'rollup', into: '.' },
  // The pages that these two write have inline scripts.
  { folder: 'parcel', into: 'dist', policy: '' },
  { folder: 'sveltekit', into: 'build', policy: '' },
];

for (const { into, policy = POLICY, ...consumer } of BUILDS) {
  const name = consumer.versions ?? consumer.folder;
  test(`a page built by ${name} paints${policy && ', under a strict policy'}`, async ({ page }) => {
    const folder = await installed(consumer);
    await runScript(folder, 'build');
    const headers: Record<string, string> = policy ? { 'Content-Security-Policy': policy } : {};
    const server = await serve({ folders: { '/': `${folder}/${into}` }, headers });
    await expectPicture(page, `${server.url}/index.html`);
    await server.close();
  });
}

/** Development servers, and what Next builds, which needs a server as well. */
const SERVERS: Array<Consumer & { script: string; args?: string[]; before?: string }> = [
  { folder: 'vite', versions: 'vite-5', script: 'dev' },
  { folder: 'vite', versions: 'vite-6', script: 'dev' },
  { folder: 'vite', versions: 'vite-7', script: 'dev' },
  { folder: 'vite', versions: 'vite-8', script: 'dev' },
  { folder: 'workspace', script: 'dev' },
  { folder: 'workspace', versions: 'workspace-5', script: 'dev' },
  { folder: 'sveltekit', script: 'dev' },
  { folder: 'next', script: 'dev' },
  { folder: 'next', script: 'start', before: 'build' },
];

for (const { script, before, ...consumer } of SERVERS) {
  const name = consumer.versions ?? consumer.folder;
  test(`a page that ${name} serves by \`${script}\` paints`, async ({ page, errors }) => {
    errors.allow(/favicon/);
    const folder = await installed(consumer);
    if (before) await runScript(folder, before);
    const server = await startScript(folder, script);
    await expectPicture(page, `${server.url}/`);
    // The page of a development server complains when it is gone.
    await page.goto('about:blank');
    await server.close();
  });
}

test('a page built by vite-8 with its files on a CDN paints', async ({ page }) => {
  const folder = await installed({ folder: 'vite', versions: 'vite-8' });
  const cdn = await serveCdn(`${folder}/cdn`);
  await runScript(folder, 'build', '--base', `${cdn.url}/`, '--outDir', 'cdn');
  await expectPictureOf(page, await readFile(`${folder}/cdn/index.html`, 'utf8'));
  await cdn.close();
});

test('a page built by webpack with its files on a CDN paints', async ({ page }) => {
  const folder = await installed({ folder: 'webpack' });
  const cdn = await serveCdn(`${folder}/cdn`);
  await runScript(folder, 'build', '--output-public-path', `${cdn.url}/`, '--output-path', 'cdn');
  await expectPictureOf(page, `<!doctype html><canvas></canvas><output></output><script src="${cdn.url}/main.js" defer></script>`);
  await cdn.close();
});
