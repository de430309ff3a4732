/**
 * Which model the page is about. Words, pictures and lists that are true of the embedded model alone are seen with it
 * alone; `index.html` marks them `emoji-only`.
 */

import { byId } from './dom';
import { watch } from './state';
import { IS_BUILT_IN, MODEL } from './studio';

const EMOJI = 'emoji';

function show(name: string): void {
  document.body.dataset['model'] = name === EMOJI ? EMOJI : 'other';
  if (name === EMOJI) return;
  byId('lead-other', HTMLParagraphElement).textContent =
    import.meta.env.MODE === 'server' ? `The model “${name}” of this server paints. What it can paint, only its makers know.` : `The model of ${name} runs in this tab; nothing is sent anywhere.`;
}

export function startAbout(): void {
  if (!IS_BUILT_IN) show(new URL(MODEL).href);
  watch(
    (now) => now.model,
    (model) => {
      if (model.kind === 'ready') show(model.model.name);
    },
  );
}

/** Whether the page is about the embedded model. */
export function isEmoji(): boolean {
  return document.body.dataset['model'] === EMOJI;
}
