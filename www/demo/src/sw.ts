/**
 * The service worker: keeps the page itself (HTML, scripts, styles, wasm, the model's small files) for visits without
 * a network. Weights are not its business, the library keeps those; requests for a range of bytes go through to the
 * network, and an answer of 206 is never stored.
 *
 * `vite.config.ts` puts the list of built files, and a version made from their contents, at the end of the build.
 */

declare const self: ServiceWorkerGlobalScope;
export {};

/** The files of the page; the build writes them here. */
const FILES: readonly string[] = JSON.parse('__FILES__') as string[];
const SHELL = 'x2i-shell-__VERSION__';
/** Small files of models that the page was asked for by `?model=`. */
const MODELS = 'x2i-model-files';

async function install(): Promise<void> {
  const cache = await caches.open(SHELL);
  // Hashed names may come from the browser's own cache; the page itself must be fresh.
  await cache.addAll(FILES.map((file) => new Request(file, { cache: file === './' ? 'reload' : 'default' })));
  await self.skipWaiting();
}

async function activate(): Promise<void> {
  for (const name of await caches.keys()) {
    if (name.startsWith('x2i-shell-') && name !== SHELL) await caches.delete(name);
  }
  await self.clients.claim();
}

/** From the shell, else from the network. */
async function fromShell(request: Request): Promise<Response> {
  const cache = await caches.open(SHELL);
  const kept = await cache.match(request, { ignoreSearch: request.mode === 'navigate', ignoreVary: true });
  return kept ?? fetch(request);
}

/** The page: fresh when there is a network, else as it was kept. */
async function page(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch {
    return (await (await caches.open(SHELL)).match('./')) ?? Response.error();
  }
}

/** From the network, and kept; from what was kept when there is none. */
async function fresh(request: Request): Promise<Response> {
  const cache = await caches.open(MODELS);
  try {
    const response = await fetch(request);
    if (response.status === 200) await cache.put(request, response.clone());
    return response;
  } catch {
    return (await cache.match(request, { ignoreVary: true })) ?? Response.error();
  }
}

function answer(request: Request): Promise<Response> | undefined {
  if (request.method !== 'GET' || request.headers.has('range')) return undefined;
  const url = new URL(request.url);
  if (request.mode === 'navigate') return page(request);
  if (FILES.some((file) => new URL(file, self.registration.scope).href === url.href)) return fromShell(request);
  if (url.pathname.endsWith('.json')) return fresh(request);
  return undefined;
}

self.addEventListener('install', (event) => event.waitUntil(install()));
self.addEventListener('activate', (event) => event.waitUntil(activate()));
self.addEventListener('fetch', (event) => {
  const response = answer(event.request);
  if (response) event.respondWith(response);
});
