/** Pictures in the prompt: chosen, dropped, pasted or taken; shown in their order; refused at once by a model that reads text only. */

import { byId, iconButton, make } from './dom';
import { announce } from './live';
import { inform } from './notice';
import { state, watch } from './state';
import { urlOf } from './store';

const thumbs = byId('thumbs', HTMLUListElement);
const reads = byId('reads', HTMLParagraphElement);

let images: Blob[] = [];

/** The pictures of the prompt, in order. */
export function attached(): readonly Blob[] {
  return images;
}

/** Whether the loaded model reads pictures; it may, while none is loaded. */
export function readsImages(): boolean {
  const { model } = state();
  return model.kind !== 'ready' || model.model.modalities.includes('image');
}

/** Says why a picture was not taken. */
export function refuse(): void {
  const { model } = state();
  const name = model.kind === 'ready' ? `“${model.model.name}”` : 'This model';
  inform(`${name} reads text only.`, 'Describe the picture in words, or open a model that sees.');
}

/** Adds pictures to the prompt, if the model reads them. */
export async function attach(files: readonly Blob[]): Promise<void> {
  if (!readsImages()) return refuse();
  for (const file of files) {
    try {
      (await createImageBitmap(file)).close();
      images.push(file);
    } catch {
      inform('That picture could not be read.', 'Try a PNG, JPEG or WebP.');
    }
  }
  render();
  announce(`${images.length} in the prompt`);
}

function remove(index: number): void {
  images = images.filter((_, at) => at !== index);
  render();
  const buttons = thumbs.querySelectorAll('button');
  (buttons[Math.min(index, buttons.length - 1)] ?? byId('add-image', HTMLButtonElement)).focus();
}

function render(): void {
  thumbs.hidden = images.length === 0;
  thumbs.replaceChildren(
    ...images.map((image, index) => {
      const button = iconButton('close', `Remove picture ${index + 1}`);
      button.addEventListener('click', () => remove(index));
      return make('li', {}, make('img', { src: urlOf(image), alt: `Picture ${index + 1}` }), button);
    }),
  );
}

export function startAttach(): void {
  const file = byId('file', HTMLInputElement);
  const add = byId('add-image', HTMLButtonElement);
  add.addEventListener('click', () => (readsImages() ? file.click() : refuse()));
  file.addEventListener('change', () => {
    void attach([...(file.files ?? [])]);
    file.value = '';
  });
  watch(
    (now) => now.model,
    (model) => {
      const blind = model.kind === 'ready' && !model.model.modalities.includes('image');
      for (const button of [add, byId('add-camera', HTMLButtonElement)]) {
        button.setAttribute('aria-disabled', String(blind));
        if (blind) button.setAttribute('aria-describedby', 'reads');
        else button.removeAttribute('aria-describedby');
      }
      reads.textContent = blind ? 'This model reads text only' : '';
      if (!blind || images.length === 0) return;
      images = [];
      render();
      refuse();
    },
  );
}
