/**
 * Callers and their mistakes: every failure is an X2iError with the code of who can mend it, in pages of every kind and
 * in workers.
 */

import type { Page } from '@playwright/test';
import { expect, test } from './support/browser.ts';
import { openPage, serveRuntime } from './support/runtime.ts';
import { bytesContent, contentAt, type Server } from './support/server.ts';

const html = (body: string): ReturnType<typeof bytesContent> =>
  bytesContent(Buffer.from(`<!doctype html><link rel="icon" href="data:," />${body}`), 'text/html');
const script = (text: string): ReturnType<typeof bytesContent> => bytesContent(Buffer.from(text), 'text/javascript');

/** Paints with two steps, and says `done WIDTH` or what failed. */
const PAINT = `
  async function paint(options) {
    const told = ({ name, code, message }) => name + ' ' + code + ': ' + message;
    try {
      const { createPipeline } = await import('/x2i/index.js');
      const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', ...options });
      const { width } = await x2i.generate({ prompt: 'a red apple', seed: 1, steps: 2 }).result;
      return 'done ' + width;
    } catch (error) {
      return told(error);
    }
  }
`;

let server: Server;
test.beforeEach(async () => {
  server = await serveRuntime();
});
test.afterEach(() => server.close());

test('mistakes in options are told in a sentence, as config or request', async ({ page }) => {
  await openPage(page, server);
  const told = await page.evaluate(async () => {
    const { createPipeline, deleteCachedModel, describeModel, listDevices, readMetadata } = (await import('/x2i/index.js')) as any;
    const x2i = await createPipeline({ model: '/emoji/', device: 'cpu' });
    const model = '/emoji/';
    const prompt = 'a red apple';
    const calls: Array<() => Promise<unknown>> = [
      () => createPipeline(),
      () => createPipeline({}),
      () => createPipeline({ model: 7 }),
      () => createPipeline({ model: '' }),
      () => createPipeline({ model: { name: 'a' } }),
      () => createPipeline({ model, cache: 'disk' }),
      () => createPipeline({ model, thread: 'x' }),
      () => createPipeline({ model, device: 'gpu' }),
      () => createPipeline({ model, loras: 'a.safetensors' }),
      () => createPipeline({ model, loras: ['a.safetensors'] }),
      () => createPipeline({ model, loras: [{ data: 'a.safetensors' }] }),
      () => createPipeline({ model, workerUrl: 'http://' }),
      () => createPipeline({ model, onProgress: true }),
      () => createPipeline({ model, share: true, loras: [] }),
      () => listDevices({ thread: 'x' }),
      () => describeModel(),
      () => x2i.generate().result,
      () => x2i.generate({}).result,
      () => x2i.generate('a red apple').result,
      () => x2i.generate({ prompt: [] }).result,
      () => x2i.generate({ prompt: [{ picture: 1 }] }).result,
      () => x2i.generate({ prompt: [{ image: 7 }] }).result,
      () => x2i.generate({ prompt: [{ video: {} }] }).result,
      () => x2i.generate({ prompt: [{ audio: { samples: [1] } }] }).result,
      () => x2i.generate({ prompt, output: 'png' }).result,
      () => x2i.generate({ prompt, turns: 'earlier' }).result,
      () => x2i.generate({ prompt, turns: [{ prompt }] }).result,
      () => x2i.generate({ prompt, steps: '4' }).result,
      () => x2i.generate({ prompt, seed: 'x' }).result,
      () => x2i.generate({ prompt, init: {} }).result,
      () => x2i.generate({ prompt, numImages: 0 }).result,
      () => x2i.generate({ prompt, numImages: 2, seed: 2n ** 64n - 1n }).result,
      () => x2i.generate({ prompt, signal: 'stop' }).result,
      () => deleteCachedModel(),
      () => readMetadata('a.png'),
    ];
    const told = [];
    for (const call of calls) {
      const failure = await call().then(() => ({ name: 'worked', code: '', message: String(call) }), (error) => error);
      told.push(`${failure.name} ${failure.code}: ${failure.message}`);
    }
    return told;
  });
  expect(told).toEqual([
    "X2iError config: createPipeline needs an object, such as { model: 'emoji' }",
    "X2iError config: model must be 'emoji', a folder's URL, OWNER/NAME of the Hugging Face Hub, or { name, files } with a URL for each file, not undefined",
    expect.stringMatching(/^X2iError config: model must be .* not 7$/),
    expect.stringMatching(/^X2iError config: model must be .* not ''$/),
    expect.stringMatching(/^X2iError config: model must be .* not { name }$/),
    "X2iError config: cache must be 'auto' or 'none', not 'disk'",
    "X2iError config: thread must be 'worker' or 'main', not 'x'",
    "X2iError config: device must be 'auto', 'cpu' or 'webgpu', not 'gpu'",
    "X2iError config: loras must be a list, not 'a.safetensors'",
    "X2iError config: loras[0] must be { data, config?, scale? }, not 'a.safetensors'",
    "X2iError config: loras[0].data must be a Blob or a buffer, not 'a.safetensors'",
    "X2iError config: workerUrl must be a URL, not 'http://'",
    'X2iError config: onProgress must be a function, not true',
    'X2iError config: a shared pipeline takes no loras and no controlWeights: leave share away',
    "X2iError config: thread must be 'worker' or 'main', not 'x'",
    expect.stringMatching(/^X2iError config: model must be .* not undefined$/),
    "X2iError request: generate needs an object, such as { prompt: 'a red apple' }",
    'X2iError request: prompt must be a text or a list of parts, not undefined',
    "X2iError request: generate needs an object, such as { prompt: 'a red apple' }",
    'X2iError request: prompt must be a text or a list of parts, not an empty list',
    'X2iError request: part 1 of prompt must be a text, { text }, { image }, { video } or { audio }, not { picture }',
    expect.stringMatching(/^X2iError request: image 1 of the prompt must be a file, an address, /),
    expect.stringMatching(/^X2iError request: video 1 of the prompt must be a file, an address, /),
    expect.stringMatching(/^X2iError request: sound 1 of the prompt must be a file, an address, /),
    "X2iError request: output must be 'bitmap', 'blob' or 'pixels', not 'png'",
    "X2iError request: turns must be a list, not 'earlier'",
    'X2iError request: turns[0].answer must be a text, not undefined',
    "X2iError request: steps must be a number, not '4'",
    expect.stringMatching(/^X2iError request: seed x must be a whole number/),
    'X2iError request: init.image is missing',
    'X2iError request: numImages must be a whole number above 0, not 0',
    expect.stringMatching(/^X2iError request: seed 18446744073709551615 leaves no seeds for 2 images/),
    "X2iError request: signal must be an AbortSignal, not 'stop'",
    expect.stringMatching(/^X2iError request: the name of a cached model must be a text/),
    "X2iError request: readMetadata needs a Blob, not 'a.png'",
  ]);
});

test('a model that is deleted while it is downloaded is in use, which is no bug', async ({ page }) => {
  await openPage(page, server);
  server.hooks.unshift((request, response) => {
    if (!request.url?.endsWith('/flux.gguf')) return false;
    response.writeHead(200, { 'Content-Length': 1_000_000 }).write('GGUF');
    return true; // and no more
  });
  const told = await page.evaluate(async () => {
    const { cachedModels, createPipeline, deleteCachedModel } = await import('/x2i/index.js');
    const stop = new AbortController();
    let begun = (): void => {};
    const downloads = new Promise<void>((resolve) => (begun = resolve));
    const onProgress = ({ file }: { file?: string }) => file === 'flux.gguf' && begun();
    const opening = createPipeline({ model: '/emoji/', device: 'cpu', signal: stop.signal, onProgress });
    opening.catch(() => {});
    await downloads;
    const outcomes = [];
    for (const { name } of [...(await cachedModels()), { name: `${location.host}/emoji` }]) {
      outcomes.push(await deleteCachedModel(name).then(() => 'deleted', (error) => error.code as string));
    }
    stop.abort();
    return outcomes;
  });
  for (const outcome of told) expect(['deleted', 'cache-unavailable']).toContain(outcome);
});

test('a page with Trusted Types paints where its policy allows x2i, and says what it lacks where not', async ({ page, errors }) => {
  errors.allow(/TrustedScriptURL|trusted/i);
  const policies = { allowed: "require-trusted-types-for 'script'; trusted-types x2i", refused: "require-trusted-types-for 'script'; trusted-types other" };
  const told: Record<string, string> = {};
  for (const [name, policy] of Object.entries(policies)) {
    server.hooks.unshift((request, response) => {
      if (request.url !== `/${name}`) return false;
      response.writeHead(200, { 'Content-Type': 'text/html', 'Content-Security-Policy': policy });
      response.end('<!doctype html><link rel="icon" href="data:," />');
      return true;
    });
    await page.goto(`${server.url}/${name}`);
    told[name] = await paintIn(page);
  }
  expect(told).toEqual({ allowed: 'done 64', refused: expect.stringMatching(/^X2iError config: .*trusted-types x2i/) });
});

test('a frame in an opaque sandbox paints from a server with CORS,', async ({ page, errors }) => {
  errors.allow(/sandbox|storage/i);
  server.hooks.unshift(
    (_request, response) => {
      response.setHeader('Access-Control-Allow-Origin', '*');
      return false;
    },
    contentAt('/frame', html(`<output></output><script type="module">${PAINT}; document.querySelector('output').textContent = await paint();</script>`)),
    contentAt('/top', html('<iframe sandbox="allow-scripts" src="/frame"></iframe>')),
  );
  await page.goto(`${server.url}/top`);
  await expect(page.frameLocator('iframe').locator('output')).toHaveText('done 64');
});

test('a frame in an opaque sandbox fails with an X2iError where the server lets nobody read', async ({ page, errors }) => {
  errors.allow(/sandbox|CORS|Failed to load|ERR_FAILED|storage/i);
  server.hooks.unshift(
    (request, response) => {
      // Its modules alone may be read.
      if (request.url?.startsWith('/x2i/') && !request.url.endsWith('/worker.js')) response.setHeader('Access-Control-Allow-Origin', '*');
      return false;
    },
    contentAt('/frame', html(`<output></output><script type="module">${PAINT}; document.querySelector('output').textContent = await paint();</script>`)),
    contentAt('/top', html('<iframe sandbox="allow-scripts" src="/frame"></iframe>')),
  );
  await page.goto(`${server.url}/top`);
  await expect(page.frameLocator('iframe').locator('output')).toHaveText(/^X2iError config: the worker \S+worker\.js did not start/);
});

test('a shared worker paints on its own thread; a service worker says where to call x2i', async ({ page }) => {
  const hooks = [
    contentAt('/shared.js', script(`${PAINT}; onconnect = async ({ ports: [port] }) => port.postMessage(await paint());`)),
    contentAt(
      '/service.js',
      script(`
        import { createPipeline } from '/x2i/index.js';
        onmessage = async ({ source }) => {
          const failure = await createPipeline({ model: 'emoji' }).catch((error) => error);
          source.postMessage(failure.name + ' ' + failure.code + ': ' + failure.message);
        };
      `),
    ),
  ];
  server.hooks.unshift(...hooks);
  await openPage(page, server);
  const told = await page.evaluate(async () => {
    const { port } = new SharedWorker('/shared.js', { type: 'module' });
    const shared = await new Promise((resolve) => (port.onmessage = ({ data }) => resolve(data)));
    const registration = await navigator.serviceWorker.register('/service.js', { type: 'module' });
    await navigator.serviceWorker.ready;
    const service = new Promise((resolve) => navigator.serviceWorker.addEventListener('message', ({ data }) => resolve(data)));
    navigator.serviceWorker.startMessages();
    registration.active?.postMessage('paint');
    return { shared, service: await service };
  });
  expect(told.shared).toBe('done 64');
  expect(told.service).toMatch(/^X2iError device-unavailable: a service worker may not load code that paints/);
});

test('a page paints with the worker where it may not, if it asks for the main thread', async ({ page, errors }) => {
  errors.allow(/Content Security Policy/);
  server.hooks.unshift((request, response) => {
    if (request.url !== '/strict') return false;
    response.writeHead(200, { 'Content-Type': 'text/html', 'Content-Security-Policy': "worker-src 'none'" });
    response.end('<!doctype html><link rel="icon" href="data:," />');
    return true;
  });
  await page.goto(`${server.url}/strict`);
  expect(await paintIn(page)).toMatch(/^X2iError config: the worker .*worker\.js.*Content-Security-Policy/);
  expect(await paintIn(page, { thread: 'main' })).toBe('done 64');
});

test('a page that may not compile WebAssembly says which word its policy lacks', async ({ page, errors }) => {
  errors.allow(/Content Security Policy|WebAssembly/);
  server.hooks.unshift((request, response) => {
    if (request.url !== '/strict' && !request.url?.endsWith('/worker.js')) return false;
    response.setHeader('Content-Security-Policy', "script-src 'self' 'unsafe-inline'");
    if (request.url !== '/strict') return false;
    response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><link rel="icon" href="data:," />');
    return true;
  });
  await page.goto(`${server.url}/strict`);
  expect(await paintIn(page)).toMatch(/^X2iError config: .*'wasm-unsafe-eval'/);
});

/** What `PAINT` says on this page; a policy may forbid to add scripts. */
function paintIn(page: Page, options: object = {}): Promise<string> {
  return page.evaluate(async (options) => {
    const { createPipeline } = await import('/x2i/index.js');
    try {
      const x2i = await createPipeline({ model: '/emoji/', device: 'cpu', ...options });
      const { width } = await x2i.generate({ prompt: 'a red apple', seed: 1, steps: 2 }).result;
      x2i.close();
      return `done ${width}`;
    } catch (error) {
      const { name, code, message } = error as Error & { code: string };
      return `${name} ${code}: ${message}`;
    }
  }, options);
}
