/**
 * The npm packages as their users get them: what is in them, their types, and what they say where they can't paint.
 * Not here: pages that paint with them (`consumers.spec.ts`).
 */

import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { type Consumer, install, pack, remove, runScript, temporaryFolder, type Tarball } from './support/packages.ts';
import { serve } from './support/server.ts';

const MODULES = [
  'alarm',
  'assets',
  'channel',
  'client',
  'contract',
  'element',
  'errors',
  'generation',
  'here',
  'host',
  'index',
  'inputs',
  'keep',
  'left-out',
  'memory',
  'messages',
  'model',
  'moved',
  'network',
  'options',
  'pictures',
  'pipeline',
  'place',
  'policy',
  'progress',
  'prompt',
  'proxy',
  'rates',
  'reach',
  'react',
  'recording',
  'runtime',
  'share',
  'sounds',
  'sources',
  'spawn',
  'threads',
  'tools',
  'types',
  'variants',
  'videos',
  'wasm',
  'worker',
];
const WEB_FILES = [
  'LICENSE-APACHE',
  'LICENSE-MIT',
  'README.md',
  ...MODULES.flatMap((module) => [`dist/${module}.d.ts`, `dist/${module}.js`]),
  // Bundled with what it uses of mediabunny, whose types no caller needs.
  'dist/demux.js',
  'dist/wasm/left-out.js',
  'dist/wasm/variants.d.ts',
  'dist/wasm/variants.js',
  'dist/wasm/x2i_web.d.ts',
  'dist/wasm/x2i_web.js',
  'dist/wasm/x2i_web_bg.wasm',
  'element.d.ts',
  'element.js',
  'package.json',
  'react.d.ts',
  'react.js',
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

/** Installing, bundling and painting take 5 to 11 s on two cores, and minutes beside builds. */
test.setTimeout(600_000);

let packed: string;
let web: Tarball;
let model: Tarball;
const folders: string[] = [];

test.beforeAll(async () => {
  packed = await temporaryFolder();
  folders.push(packed);
  web = await pack('www', packed);
  model = await pack('www/model-emoji', packed);
});

test.afterAll(async () => {
  for (const folder of folders) await remove(folder);
});

async function consumer(of: Consumer, ...tarballs: Tarball[]): Promise<string> {
  const folder = await install(of, tarballs);
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

test('@x2i/web holds its modules and the WebAssembly, and nothing else', () => {
  console.log(`@x2i/web: ${kilobytes(web.bytes)} packed, ${kilobytes(web.unpackedBytes)} unpacked`);
  expect(web.files).toEqual(WEB_FILES.toSorted());
});

test('@x2i/model-emoji holds the model, and nothing else', () => {
  console.log(`@x2i/model-emoji: ${kilobytes(model.bytes)} packed, ${kilobytes(model.unpackedBytes)} unpacked`);
  expect(model.files).toEqual(MODEL_FILES.toSorted());
});

for (const { into, ...of } of [
  { folder: 'vite', versions: 'vite-8', into: 'dist' },
  { folder: 'webpack', into: '.' },
]) {
  test(`${of.folder} builds without the model's package, whose absence is then a clear error`, async ({ page, errors }) => {
    // The browser tells of the module that is not there.
    errors.allow(/404|Failed to load|file:/);
    const folder = await consumer(of, web);
    await runScript(folder, 'build');
    const server = await serve({ folders: { '/': `${folder}/${into}` } });
    expect(await outcome(page, `${server.url}/index.html`)).toMatch(/^config: .*@x2i\/model-emoji.*not installed/);
    await server.close();
  });
}

for (const versions of ['typescript-5', 'typescript-6']) {
  test(`the types satisfy ${versions} without skipLibCheck`, async () => {
    const folder = await consumer({ folder: 'typescript', versions }, web, model);
    expect(await runScript(folder, 'build')).toBe('');
  });
}

test('on a server the package can be imported, and every call says where it works', async () => {
  const folder = await consumer({ folder: 'node' }, web, model);
  const told = (await runScript(folder, 'build')).trim().split('\n');
  expect(told).toEqual([
    expect.stringMatching(/^createPipeline: X2iError device-unavailable: x2i paints in browsers only.*`x2i serve`/),
    expect.stringMatching(/^listDevices: X2iError device-unavailable: x2i paints in browsers only/),
    expect.stringMatching(/^describeModel: X2iError device-unavailable: x2i paints in browsers only/),
    expect.stringMatching(/^recordAudio: X2iError audio: /),
    'useX2i renders idle',
    'X2iImage is a function',
  ]);
});

function kilobytes(bytes: number): string {
  return `${(bytes / 1000).toFixed(0)} kB`;
}
