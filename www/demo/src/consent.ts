/**
 * Asking for a picture is the consent to download its model, once: the page says how much that is beside the button. A
 * model that is too large for that is asked about first.
 */

import { byId } from './dom';
import { bytes } from './format';
import { confirm } from './confirm';
import { announce } from './live';
import { state, update, watch } from './state';
import { loadModel } from './studio';

/** More than a visitor expects of a page. */
const LARGE = 100_000_000;

async function fetchFor(missing: number): Promise<void> {
  if (missing > LARGE && !(await confirm(`This model is ${bytes(missing)} to download. It is then kept on this device.`, 'Download', 'Cancel'))) {
    update({ queue: [] });
    byId('prompt', HTMLTextAreaElement).focus();
    announce('Nothing is downloaded');
    return;
  }
  await loadModel();
}

function heed(): void {
  const { model, queue } = state();
  if (model.kind !== 'absent' || queue.length === 0) return;
  const { description } = model;
  void fetchFor(description === undefined ? 0 : description.bytes - description.cachedBytes);
}

export function startConsent(): void {
  watch((now) => now.model, heed);
  watch((now) => now.queue.length > 0, heed);
}
