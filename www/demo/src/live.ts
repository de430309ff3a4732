/** What a screen reader hears: phases and results, never percents. */

import { byId } from './dom';

const region = byId('live', HTMLParagraphElement);
let last = '';

/** Says `text` once; the same text again is said only after another one. */
export function announce(text: string): void {
  if (text === last) return;
  last = text;
  region.textContent = text;
}
