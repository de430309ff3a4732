/** Pictures that the model painted before the visitor came: one prompt in eight languages, and four other examples. */

import { byId, make } from './dom';
import { EXAMPLES, LANGUAGES, SEED, type Example, type Language } from './examples';
import { askFor } from './form';
import { state, watch, type State } from './state';

/** Addresses by file name. The build gives them their hashes. */
const PICTURES = import.meta.glob<string>('./pictures/*.png', { eager: true, query: '?url', import: 'default' });

function picture(name: string): HTMLImageElement {
  return make('img', { class: 'crisp', src: PICTURES[`./pictures/${name}.png`] ?? '', alt: '', width: 64, height: 64 });
}

/** A picture and its prompt, which paints it anew. */
function tile(name: string, words: string, language: Language, ask: () => void): HTMLLIElement {
  const caption = make('span', { lang: language, dir: 'auto' }, words);
  const button = make('button', { type: 'button', class: 'example' }, picture(name), caption);
  button.addEventListener('click', ask);
  return make('li', {}, button);
}

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
  const [hero, ...others] = EXAMPLES as readonly [Example, ...Example[]];
  byId('hero-tiles', HTMLUListElement).append(
    ...LANGUAGES.map(({ code }) => tile(`hero-${code}`, hero[code], code, () => askFor(hero[code], code, SEED))),
  );
  byId('examples', HTMLUListElement).append(
    ...others.map((example, index) =>
      tile(`example-${index + 1}`, example.en, 'en', () => askFor(example[state().language], state().language, SEED)),
    ),
  );
  watch((now) => now.language, sayExamples);
  watch((now) => now, heed);
}
