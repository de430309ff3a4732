/** What a picture is called: aloud, and as a file. */

import type { Picture } from './store';

/** A name for a picture that was painted. */
export function nameOf(of: Picture): string {
  const words = of.text.trim() || 'Picture without words';
  return `${words}, seed ${of.seed}`;
}

/** A file name that says what it is: the first words and the seed. */
export function fileName(of: Picture): string {
  const words = of.text.trim().replace(/[^\p{Letter}\p{Number}]+/gu, '-').slice(0, 48).replace(/^-|-$/g, '');
  return `${words || 'x2i'}-${of.seed}.png`;
}
