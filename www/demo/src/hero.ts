/**
 * Pictures that the model painted before the visitor came: one prompt in eight languages, and four other examples. The
 * build writes them into the page (`vite.config.ts`), so that they are seen before any script runs; a tap paints one anew.
 */

import { byId } from './dom';
import { EXAMPLES, SEED, type Language } from './examples';
import { askFor } from './form';
import { watch, type State } from './state';

/** The examples in the language that was chosen; their pictures are those of the English words. */
function sayExamples(language: Language): void {
  for (const [index, caption] of [...document.querySelectorAll<HTMLElement>('#examples .example span')].entries()) {
    caption.textContent = EXAMPLES[index + 1]?.[language] ?? '';
    caption.lang = language;
  }
}

/** The hero gives its place to the first picture. */
function heed({ shown, running, queue }: Readonly<State>): void {
  const isBusy = running !== undefined || queue.length > 0;
  const isEmpty = shown.kind === 'nothing' && !isBusy;
  byId('hero', HTMLElement).hidden = !isEmpty;
  document.body.classList.toggle('easel-empty', isEmpty);
}

export function startHero(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('.hero .example, .examples .example')) {
    button.addEventListener('click', () => {
      const words = button.querySelector('span');
      askFor(words?.textContent ?? '', words?.lang ?? 'en', SEED);
    });
  }
  watch((now) => now.language, sayExamples);
  watch((now) => now, heed);
}
