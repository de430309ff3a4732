/** The pages of `x2i serve`: the demo's page against the server, and the description of its routes. */

import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ask, easel, painted, paintSlowly } from './support/demo.ts';
import { expect, test } from './support/browser.ts';

const PROGRAM = fileURLToPath(new URL('../../target/release/x2i', import.meta.url));

let server: ChildProcess;
let url: string;

test.beforeEach(async () => {
  server = spawn(PROGRAM, ['serve', '--model', 'emoji', '--device', 'cpu', '--port', '0'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const lines = createInterface({ input: server.stdout as NodeJS.ReadableStream });
  for await (const line of lines) {
    url = `${/http:\/\/\S+/.exec(line)?.[0]}/`;
    break;
  }
});

test.afterEach(async () => {
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGINT');
  server.kill('SIGINT');
  await ended;
});

test('the page paints on the server, the same picture as the server does', async ({ page }) => {
  await page.goto(url);
  await expect(page.getByText(/Paints on the server \(/)).toBeVisible();
  await expect(page.getByText(/(this|your) tab/).filter({ visible: true })).toHaveCount(0);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(/^Paints emoji-like pictures of 160 things/);
  await expect(page.locator('#hero img')).toHaveCount(8);
  await expect(page.locator('#download')).toBeHidden();
  await expect(page.getByLabel('Device', { exact: true })).toBeHidden();
  await ask(page, 'a red apple on a blue background');
  await painted(page, 1);
  await expect(page.locator('#plate')).toContainText('7');
  await expect(page.locator('#plate')).toContainText('Understood as: a red apple on blue');
  const same = await page.evaluate(async () => {
    const shown = await (await fetch((document.getElementById('picture') as HTMLImageElement).src)).arrayBuffer();
    const body = JSON.stringify({ prompt: 'a red apple on a blue background', seed: 7 });
    const answer = await fetch('v1/images/generations', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const { data } = (await answer.json()) as { data: Array<{ b64_json: string }> };
    return btoa(String.fromCharCode(...new Uint8Array(shown))) === data[0]?.b64_json;
  });
  expect(same).toBe(true);
});

test('a picture is cancelled on the server', async ({ page }) => {
  await page.goto(url);
  await paintSlowly(page);
  await ask(page, 'a cat');
  await expect(page.locator('#preview')).toBeVisible();
  await page.getByRole('button', { name: /Cancel/ }).click();
  await expect
    .poll(async () => ((await (await page.request.get(`${url}v1/x2i/jobs`)).json()) as { jobs: Array<{ status: string }> }).jobs[0]?.status)
    .toBe('canceled');
  await expect(easel(page)).toBeHidden();
});

test('a server that is gone is named, until it answers', async ({ page, errors }) => {
  errors.allow(/ERR_CONNECTION_REFUSED/);
  await page.goto(url);
  await expect(page.getByText(/Paints on the server \(/)).toBeVisible();
  await page.route('**/v1/x2i/jobs', (route) => route.abort('connectionrefused'));
  await ask(page, 'a cat');
  await expect(page.getByRole('alert')).toContainText('The server does not answer. Is it still running?');
  await expect(page.locator('#device')).toHaveText('The server does not answer');
  await page.unroute('**/v1/x2i/jobs');
  await page.getByRole('button', { name: 'Paint again' }).click();
  await painted(page, 1);
  await expect(page.locator('#device')).toHaveText(/^Paints on the server/);
});

test('a gateway, which does not know its models, is sent no size and no steps', async ({ page }) => {
  const worker = { device: 'cpu', description: '', up: true };
  await page.route('**/v1/models', (route) => route.fulfill({ json: { object: 'list', data: [{ id: 'emoji' }] } }));
  await page.route('**/ready', (route) => route.fulfill({ json: { workers: [worker, worker] } }));
  await page.goto(url);
  await expect(page.locator('#device')).toHaveText('Paints on 2 workers');
  await expect(page.locator('#reads')).toBeEmpty();
  const ordered = page.waitForRequest((request) => request.method() === 'POST' && request.url().endsWith('/v1/x2i/jobs'));
  await ask(page, 'a cat');
  const names = [...((await ordered).postData() ?? '').matchAll(/name="(\w+)"/g)].map(([, name]) => name);
  expect(names).toEqual(['seed', 'model', 'parts', 'previews']);
  await painted(page, 1);
});

test('the description is shown, and its routes can be tried', async ({ page }) => {
  await page.goto(`${url}docs`);
  await page.getByLabel('Find a route or a field').fill('generations');
  await page.getByText('/v1/images/generations').click();
  await expect(page.getByRole('row', { name: /^num_inference|^steps/ })).toBeVisible();
  await page.getByRole('button', { name: 'Try it' }).click();
  await expect(page.getByText('200 application/json')).toBeVisible();
  await expect(page.getByRole('img', { name: 'the image' })).toBeVisible();
});
