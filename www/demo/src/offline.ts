/** Registers the service worker once a model is here: before that, nothing beyond the page itself is fetched. */

import { byId } from './dom';
import { watch } from './state';

const line = byId('offline', HTMLSpanElement);

async function register(): Promise<void> {
  try {
    await navigator.serviceWorker.register(new URL('sw.js', document.baseURI), { scope: new URL('./', document.baseURI).pathname });
    await navigator.serviceWorker.ready;
    line.textContent = 'This page works offline.';
  } catch {
    line.textContent = 'This browser does not keep the page for offline use.';
  }
}

export function startOffline(): void {
  // The development server has no built files that could be listed.
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return;
  let registered = false;
  watch(
    (now) => now.model.kind,
    (kind) => {
      if (kind !== 'ready' || registered) return;
      registered = true;
      void register();
    },
  );
}
