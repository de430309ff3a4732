/** What the first picture downloads: one line beside the button, every file and its size under it. */

import type { ModelDescription } from '@x2i/web';
import { byId, make } from './dom';
import { bytes } from './format';
import { PROGRAM, SCRIPTS } from './program';
import { watch, type ModelState } from './state';
import { IS_BUILT_IN, loadModel } from './studio';

const panel = byId('download', HTMLDetailsElement);
const text = byId('download-text', HTMLSpanElement);
const now = byId('download-now', HTMLButtonElement);

function row(name: string, size: string): HTMLTableRowElement {
  return make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, size));
}

function fileRow(file: ModelDescription['files'][number]): HTMLTableRowElement {
  const kept = file.cachedBytes >= file.bytes ? ', already here' : '';
  return row(file.path, `${bytes(file.bytes)}${kept}`);
}

function render(description: ModelDescription): void {
  const missing = description.bytes - description.cachedBytes;
  byId('download-size', HTMLSpanElement).textContent = bytes(missing + PROGRAM + SCRIPTS);
  const resumed = byId('download-resumed', HTMLParagraphElement);
  resumed.hidden = description.cachedBytes === 0;
  resumed.textContent = `${bytes(description.cachedBytes)} of the model are here already.`;
  const code = PROGRAM > 0 ? [row('this page’s scripts', bytes(SCRIPTS)), row('program (WebAssembly)', bytes(PROGRAM))] : [];
  byId('download-files', HTMLTableSectionElement).replaceChildren(...code, ...description.files.map(fileRow));
  byId('download-license', HTMLParagraphElement).textContent =
    description.license === undefined ? 'The model names no licence.' : `Licence of the model “${description.name}”: ${description.license}`;
}

/** The line stays while it is true; the page must not jump under a visitor who has tapped. */
function heed(model: ModelState): void {
  if (model.kind === 'absent' && model.description) render(model.description);
  now.hidden = model.kind !== 'absent';
  if (model.kind === 'ready') text.textContent = 'The model is on this device.';
}

export function startDownload(): void {
  // The build wrote the size of the model that is built in.
  if (!IS_BUILT_IN) byId('download-size', HTMLSpanElement).textContent = 'the model';
  now.addEventListener('click', () => {
    // The button goes away; the visitor goes on at the prompt.
    byId('prompt', HTMLTextAreaElement).focus({ preventScroll: true });
    panel.open = false;
    void loadModel();
  });
  watch((now) => now.model, heed);
}
