/** The first visit: what would be downloaded, how large it is, its licence, and one button. */

import type { ModelDescription } from '@x2i/web';
import { byId, make } from './dom';
import { bytes } from './format';
import { announce } from './live';
import { watch } from './state';
import { loadModel } from './studio';

const panel = byId('welcome', HTMLDivElement);
const start = byId('welcome-start', HTMLButtonElement);

function fileRow(file: ModelDescription['files'][number]): HTMLTableRowElement {
  const kept = file.cachedBytes >= file.bytes ? ', already here' : '';
  return make('tr', {}, make('th', { scope: 'row' }, file.path), make('td', {}, `${bytes(file.bytes)}${kept}`));
}

function render(description: ModelDescription): void {
  const missing = bytes(description.bytes - description.cachedBytes);
  const resumed = description.cachedBytes > 0 ? ` ${bytes(description.cachedBytes)} of it are here already.` : '';
  byId('welcome-text', HTMLParagraphElement).textContent =
    `The model “${description.name}” is ${bytes(description.bytes)}.${resumed} It is kept on this device, so the next visit starts at once and works offline.`;
  byId('welcome-files', HTMLTableSectionElement).replaceChildren(...description.files.map(fileRow));
  byId('welcome-license', HTMLParagraphElement).textContent =
    description.license === undefined ? 'The model names no licence.' : `Licence of the model: ${description.license}`;
  start.textContent = `Download ${missing} and start`;
  announce(`The model is not on this device yet. It is ${bytes(description.bytes)} to download.`);
}

export function startWelcome(): void {
  start.addEventListener('click', () => {
    // The button goes away with its panel; the visitor goes on at the prompt.
    byId('prompt', HTMLTextAreaElement).focus({ preventScroll: true });
    void loadModel();
  });
  watch(
    (state) => state.model,
    (model) => {
      panel.hidden = model.kind !== 'absent';
      if (model.kind === 'absent') render(model.description);
    },
  );
}
