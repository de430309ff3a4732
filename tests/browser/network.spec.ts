/**
 * Where a model's files come from: presigned addresses, keys and cookies, the page's own `fetch`, the Hugging Face Hub
 * (played here), and what is said when a server or the browser refuses.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { EMOJI, openPage, serveRuntime } from './support/runtime.ts';
import { bytesContent, fileContent, type Hook, pathOf, type Server, send, serve } from './support/server.ts';

const PAGE = '<!doctype html><html lang="en"><title>x2i</title><link rel="icon" href="data:,">';

let server: Server;
test.beforeEach(async ({ page }) => {
  server = await serveRuntime();
  await openPage(page, server);
});
test.afterEach(() => server.close());

/** Options that can be sent to the page. */
interface Wish {
  model: string;
  headers?: Record<string, string>;
  credentials?: 'include' | 'omit';
  hubUrl?: string;
  cache?: 'none';
  workerUrl?: string;
}

/** `loaded`, or what the error says. */
function load(page: Page, wish: Wish): Promise<string> {
  return page.evaluate(async (wish) => {
    const { createPipeline } = await import('/x2i/index.js');
    return createPipeline({ device: 'cpu', ...wish }).then(
      (x2i) => (x2i.close(), 'loaded'),
      ({ code, message }) => `${code}: ${message}`,
    );
  }, wish);
}

/** A server of another origin with the embedded model under `/model/`, behind a hook. */
function modelServer(hook: Hook, headers: Record<string, string> = {}): Promise<Server> {
  return serve({ hooks: [hook], folders: { '/model/': EMOJI }, headers });
}

const pass: Hook = () => false;

/** Answers the question before a request, and lets this page read what follows. */
function cors(headers: Record<string, string>): Hook {
  return (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (request.method !== 'OPTIONS') return false;
    response.writeHead(204).end();
    return true;
  };
}

test('the query of a presigned folder is sent for each file, and stands in no message', async ({ page, errors }) => {
  errors.allow(/Failed to load resource/);
  server.hooks.unshift((request, response) => {
    if (!pathOf(request).startsWith('/emoji/') || request.url?.endsWith('?key=secret&expires=9')) return false;
    response.writeHead(403).end();
    return true;
  });
  expect(await load(page, { model: '/emoji?key=secret&expires=9' })).toBe('loaded');
  const refused = await load(page, { model: '/emoji/?key=other' });
  expect(refused).toMatch(/^missing-file: .*\/emoji\/model\.json: the server answered 403: it is private, gated or not there; `headers` may send a key$/);
  expect(refused).not.toContain('key=');
});

test('headers go to the model\'s own servers, from a record or a function of the address', async ({ page, errors }) => {
  errors.allow(/Failed to load resource/);
  const allow = cors({ 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': 'authorization, range' });
  const models = await modelServer((request, response) => {
    if (allow(request, response)) return true;
    if (request.headers.authorization === 'Bearer right') return false;
    response.writeHead(401).end();
    return true;
  });
  const model = `${models.url}/model/`;
  expect(await load(page, { model, headers: { Authorization: 'Bearer right' } })).toBe('loaded');
  const wrong = await load(page, { model: `${model}?other`, headers: { Authorization: 'Bearer wrong' } });
  expect(wrong).toMatch(/answered 401: what `headers` or `credentials` send is not enough/);
  expect(await load(page, { model: `${model}?other` })).toMatch(/answered 401: .*`headers` may send a key/);
  const asked = await page.evaluate(async (model) => {
    const { createPipeline, describeModel } = await import('/x2i/index.js');
    const urls: string[] = [];
    const headers = async (url: string): Promise<HeadersInit> => {
      urls.push(url.slice(url.lastIndexOf('/') + 1));
      return { Authorization: 'Bearer right' };
    };
    await describeModel(model, { headers });
    const described = urls.splice(0);
    (await createPipeline({ model, device: 'cpu', cache: 'none', headers })).close();
    return { described, all: [...new Set(urls)].sort() };
  }, model);
  expect(asked.described).toEqual(['model.json']);
  expect(asked.all).toEqual(['align_net.gguf', 'encoder.gguf', 'flux.gguf', 'model.json', 'tokenizer.json', 'vae.gguf']);
  const bad = await load(page, { model, headers: { 'no header': 'x' } });
  expect(bad).toMatch(/^config: headers: /);
  await models.close();
});

test('credentials send the cookies of another origin', async ({ page, context, errors }) => {
  errors.allow(/Failed to load resource/);
  const allow = cors({ 'Access-Control-Allow-Origin': server.url, 'Access-Control-Allow-Credentials': 'true' });
  const models = await modelServer((request, response) => {
    if (allow(request, response)) return true;
    if (request.headers.cookie?.includes('session=1')) return false;
    response.writeHead(401).end();
    return true;
  });
  await context.addCookies([{ name: 'session', value: '1', url: models.url }]);
  expect(await load(page, { model: `${models.url}/model/` })).toMatch(/^missing-file: .*answered 401/);
  expect(await load(page, { model: `${models.url}/model/`, credentials: 'include' })).toBe('loaded');
  await models.close();
});

test("the page's own fetch answers a pipeline in a worker: streams, ranges, failures and aborts", async ({ page }) => {
  const told = await page.evaluate(async () => {
    const { createPipeline } = await import('/x2i/index.js');
    const asked: Array<{ url: string; range: string | null }> = [];
    const fetchHere: typeof fetch = async (input, init) => {
      asked.push({ url: String(input), range: new Headers(init?.headers).get('range') });
      return fetch(String(input).replace('https://models.invalid/', '/emoji/'), init);
    };
    const options = { model: 'https://models.invalid/', device: 'cpu' as const, fetch: fetchHere };
    const outcome = (made: Promise<{ close(): void }>) =>
      made.then((x2i) => (x2i.close(), 'loaded'), ({ code, message }) => `${code}: ${message}`);
    const loaded = await outcome(createPipeline(options));
    const files = asked.splice(0).map(({ url }) => url);
    const ranges = await outcome(createPipeline({ ...options, cache: 'none' }));
    const ranged = asked.some(({ range }) => /^bytes=\d+-\d+$/.test(range ?? ''));
    const fails = await outcome(createPipeline({ ...options, fetch: async () => { throw new Error('no such luck'); }, model: 'https://other.invalid/' }));
    let signal: AbortSignal | null | undefined;
    const stalls: typeof fetch = async (input, init) => {
      if (!String(input).endsWith('flux.gguf')) return fetchHere(input, init);
      signal = init?.signal;
      return new Response(new ReadableStream({ pull: () => new Promise(() => {}) }));
    };
    const controller = new AbortController();
    const stalled = outcome(createPipeline({ ...options, cache: 'none', fetch: stalls, signal: controller.signal }));
    while (!signal) await new Promise((later) => setTimeout(later, 20));
    controller.abort();
    const aborted = await stalled;
    await new Promise((later) => setTimeout(later, 100));
    return { loaded, files, ranges, ranged, fails, aborted, stopped: signal.aborted };
  });
  expect(told).toMatchObject({ loaded: 'loaded', ranges: 'loaded', ranged: true, aborted: expect.stringMatching(/^aborted/), stopped: true });
  expect(told.files.map((url) => url.replace('https://models.invalid/', '')).sort()).toEqual(
    ['align_net.gguf', 'encoder.gguf', 'flux.gguf', 'model.json', 'tokenizer.json', 'vae.gguf'],
  );
  expect(told.fails).toBe('network: https://other.invalid/model.json: your `fetch` failed: no such luck');
});

test('a repository of the Hub is loaded by its name, through redirects to another server', async ({ page, errors }) => {
  errors.allow(/Failed to load resource/);
  const star = { 'Access-Control-Allow-Origin': '*' };
  const cdn = await modelServer(pass, star);
  const hub = await serve({
    headers: star,
    hooks: [
      async (request, response) => {
        const [, repository, revision, file] = /^\/(owner\/[\w.]+)\/resolve\/([^/]+)\/(.+)$/.exec(request.url ?? '') ?? [];
        const known = repository === 'owner/x2i' && ['main', 'refs%2Fpr%2F1'].includes(revision ?? '');
        if (!known) response.writeHead(repository === 'owner/private' ? 401 : 404).end();
        // Large files lie elsewhere, as the Hub's do.
        else if (file?.endsWith('.gguf')) response.writeHead(302, { Location: `${cdn.url}/model/${file}` }).end();
        else {
          const content = await fileContent(join(EMOJI, file ?? ''));
          if (content) await send(request, response, content);
          else response.writeHead(404).end();
        }
        return true;
      },
    ],
  });
  const hubUrl = `${hub.url}/`;
  expect(await load(page, { model: 'owner/x2i', hubUrl })).toBe('loaded');
  expect(cdn.requests.map(({ path }) => path).sort()).toEqual(['align_net', 'encoder', 'flux', 'vae'].map((name) => `/model/${name}.gguf`));
  const names = await page.evaluate(async () => (await (await import('/x2i/index.js')).cachedModels()).map(({ name }) => name));
  expect(names).toEqual(['hf:owner/x2i']);
  cdn.requests.length = 0;
  expect(await load(page, { model: 'hf:owner/x2i@refs/pr/1', hubUrl, cache: 'none' })).toBe('loaded');
  expect(cdn.requests.length).toBeGreaterThan(0);
  expect(cdn.requests.every(({ range }) => range?.startsWith('bytes='))).toBe(true);
  expect(await load(page, { model: 'owner/other', hubUrl })).toBe(
    `missing-file: hf:owner/other is no model folder, as \`x2i convert\` writes it: ${hub.url}/owner/other/resolve/main/model.json: the server answered 404`,
  );
  expect(await load(page, { model: 'owner/private', hubUrl })).toMatch(/answered 401: it is private, gated or not there; `headers` may send a key/);
  await hub.close();
  await cdn.close();
});

test('a broken download from a redirected address goes on where it broke', async ({ page, errors }) => {
  errors.allow(/Failed to load resource|net::ERR/);
  const cdn = await modelServer((request, response) => {
    if (pathOf(request) !== '/model/flux.gguf' || request.headers.range) return false;
    const bytes = readFileSync(join(EMOJI, 'flux.gguf'));
    response.writeHead(200, { 'Content-Length': bytes.length });
    response.write(bytes.subarray(0, bytes.length / 2));
    setTimeout(() => response.destroy(), 300);
    return true;
  }, { 'Access-Control-Allow-Origin': '*' });
  server.hooks.unshift((request, response) => {
    if (pathOf(request) !== '/emoji/flux.gguf') return false;
    response.writeHead(302, { Location: `${cdn.url}/model/flux.gguf` }).end();
    return true;
  });
  expect(await load(page, { model: '/emoji/' })).toBe('loaded');
  const [whole, rest] = cdn.requests;
  expect(whole?.range).toBeUndefined();
  expect(Number(/bytes=(\d+)-/.exec(rest?.range ?? '')?.[1])).toBeGreaterThan(1_000_000);
  await cdn.close();
});

test('a server that falls silent is asked again, for the rest', async ({ page }) => {
  const ranges: Array<string | undefined> = [];
  server.hooks.unshift((request, response) => {
    if (pathOf(request) !== '/emoji/flux.gguf') return false;
    ranges.push(request.headers.range);
    if (ranges.length > 1) return false;
    const bytes = readFileSync(join(EMOJI, 'flux.gguf'));
    response.writeHead(200, { 'Content-Length': bytes.length });
    response.write(bytes.subarray(0, 2_000_000));
    return true; // and no more
  });
  expect(await load(page, { model: '/emoji/', workerUrl: '/workers/patched.js?hurry' })).toBe('loaded');
  expect(ranges).toEqual([undefined, expect.stringMatching(/^bytes=[12]\d{6}-5854943$/)]);
});

test.describe('refusals', () => {
  test.beforeEach(({ errors }) => errors.allow(/Failed to load resource|net::ERR|CORS|Content Security Policy|violates|Fetch API/));

  test('a server without CORS is told by its origin, its address and the header that it lacks', async ({ page }) => {
    const silent = await modelServer(pass);
    const refused = await load(page, { model: `${silent.url}/model/` });
    expect(refused).toBe(
      `config: ${silent.url}/model/model.json: the server ${silent.url} must send Access-Control-Allow-Origin: ${server.url}; ` +
      'without it the browser keeps the file from this page',
    );
    const keyed = await load(page, { model: `${silent.url}/model/`, headers: { Authorization: 'x' }, credentials: 'include' });
    expect(keyed).toContain('Access-Control-Allow-Headers: authorization (also to OPTIONS), Access-Control-Allow-Credentials: true');
    await silent.close();
  });

  test('a server that is away is no matter of CORS alone', async ({ page }) => {
    const gone = await modelServer(pass);
    await gone.close();
    expect(await load(page, { model: `${gone.url}/model/` })).toMatch(
      /^network: http:.*\/model\/model\.json: the server can't be reached, or http:\S+ sends no Access-Control-Allow-Origin \(Failed to fetch\)$/,
    );
  });

  test("the page's Content-Security-Policy is told by its directive", async ({ page }) => {
    const models = await modelServer(pass, { 'Access-Control-Allow-Origin': '*' });
    const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";
    const strict = await serveRuntime([
      (_, response) => {
        response.setHeader('Content-Security-Policy', policy);
        return false;
      },
    ]);
    await openPage(page, strict);
    expect(await load(page, { model: `${models.url}/model/` })).toBe(
      `config: ${models.url}/model/model.json: the page's Content-Security-Policy forbids it; add ${models.url} to connect-src`,
    );
    await strict.close();
    await models.close();
  });

  test('a page of cross-origin isolation loads from another origin, and a worker that it blocks is told as such', async ({ page }) => {
    const models = await modelServer(pass, { 'Access-Control-Allow-Origin': '*' });
    const isolate: Hook = (request, response) => {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      // All but one of the scripts are sent as they must be.
      if (pathOf(request) !== '/workers/plain.js') response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      if (pathOf(request) !== '/workers/plain.js') return false;
      response.writeHead(200, { 'Content-Type': 'text/javascript' }).end("import '/x2i/worker.js';");
      return true;
    };
    const isolated = await serveRuntime([isolate]);
    await openPage(page, isolated);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    expect(await load(page, { model: `${models.url}/model/` })).toBe('loaded');
    const blocked = await load(page, { model: '/emoji/', workerUrl: '/workers/plain.js' });
    expect(blocked).toMatch(/^config: .*Cross-Origin-Embedder-Policy: require-corp/);
    expect(blocked).not.toContain('Content-Security-Policy');
    await isolated.close();
    await models.close();
  });

  test('what is no model is told by its address', async ({ page }) => {
    server.hooks.unshift(async (request, response) => {
      const path = pathOf(request);
      // A single-page app answers every address with its page.
      if (path.startsWith('/app/')) await send(request, response, bytesContent(Buffer.from(PAGE), 'text/html'));
      else if (path === '/broken/model.json') await send(request, response, bytesContent(Buffer.from('{'), 'application/json'));
      else if (path.startsWith('/busy/')) response.writeHead(503).end();
      else return false;
      return true;
    });
    const says: Record<string, RegExp> = {
      '/nowhere/': /^missing-file: \S+\/nowhere is no model folder, as `x2i convert` writes it: http:\S+\/nowhere\/model\.json: the server answered 404$/,
      '/app/': /^missing-file: .*http:\S+\/app\/model\.json: the server answered with a web page \(text\/html\): the file is not there, or behind a log-in$/,
      '/broken/': /^config: http:\S+\/broken\/model\.json: /,
      '/busy/': /^network: http:\S+\/busy\/model\.json: the server answered 503$/,
      '': /^config: model must be 'emoji', a folder's URL, OWNER\/NAME of the Hugging Face Hub, or .*, not ''$/,
      'http://[': /^config: the model's location http:\/\/\[ is not a URL; give /,
      'hf:owner/x2i:flux.gguf': /^config: hf:owner\/x2i:flux\.gguf is no repository of the Hub, or names files of it; give hf:OWNER\/NAME/,
    };
    for (const [model, message] of Object.entries(says)) {
      const refused = await load(page, { model });
      expect(refused, model).toMatch(message);
      expect(refused, model).not.toMatch(/JsValue|undefined|--\w/);
    }
  });
});
