/**
 * Where this code runs: in a page or a worker of one, or in a place that can't paint.
 *
 * Importing the package works everywhere, so that a page that is rendered on a server may import it; calling it does not.
 *
 * @module
 */

import { X2iError } from './errors.js';

/** The thread to use: the wanted one, or this one where workers can't start workers, which have no page to block. */
export function requireThread(wanted: 'worker' | 'main'): 'worker' | 'main' {
  requireBrowser();
  if (wanted === 'main' || typeof Worker !== 'undefined') return wanted;
  if (isScope('SharedWorkerGlobalScope')) return 'main';
  throw new X2iError('device-unavailable', "this place has no workers; use it in a page, or with thread 'main'");
}

function requireBrowser(): void {
  if (isScope('ServiceWorkerGlobalScope')) {
    throw new X2iError('device-unavailable', 'a service worker may not load code that paints; call x2i in the page');
  }
  if (typeof document !== 'undefined' || isScope('WorkerGlobalScope')) return;
  const reason = 'x2i paints in browsers only: call it in an effect or an event of the page';
  throw new X2iError('device-unavailable', `${reason}; on a server, run the program \`x2i serve\` and ask it by HTTP`);
}

/** True in this kind of worker. */
function isScope(name: string): boolean {
  const scope = (globalThis as Record<string, unknown>)[name];
  return typeof scope === 'function' && globalThis instanceof scope;
}
