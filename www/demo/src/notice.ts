/** The one place where the page tells what went wrong, or differently than wished. */

import { byId, iconButton, make } from './dom';
import { update, watch, type Notice } from './state';

const place = byId('notice', HTMLDivElement);

/** Shows a notice until the next one, or until it is dismissed. */
export function tell(notice: Notice): void {
  update({ notice });
}

/** Tells something that is no error. */
export function inform(text: string, advice?: string): void {
  tell({ tone: 'info', text, ...(advice === undefined ? {} : { advice }) });
}

function render(notice: Notice | undefined): void {
  place.hidden = notice === undefined;
  place.replaceChildren();
  if (notice === undefined) return;
  place.dataset['tone'] = notice.tone;
  const words = make('p', {}, make('strong', {}, notice.text));
  if (notice.advice !== undefined) words.append(' ', notice.advice);
  place.append(words);
  if (notice.action !== undefined) {
    const { label, run } = notice.action;
    const button = make('button', { type: 'button', class: 'link' }, label);
    button.addEventListener('click', () => {
      update({ notice: undefined });
      run();
    });
    place.append(button);
  }
  if (notice.link !== undefined) place.append(make('a', { class: 'link', href: notice.link.href }, notice.link.label));
  const close = iconButton('close', 'Dismiss');
  close.addEventListener('click', () => update({ notice: undefined }));
  place.append(close);
}

export function startNotice(): void {
  watch((state) => state.notice, render);
}
