/** All that the embedded model can paint, as words to tap, in the language of the examples. */

import { byId, make } from './dom';
import { askFor } from './form';
import { englishOf, type Concept } from './naming';
import { state, watch } from './state';
import { captionOf } from './understood';
import { labelOf, loadConcepts } from './words';

const details = byId('knows-all', HTMLDetailsElement);

function word(concept: Concept): HTMLLIElement {
  const { language } = state();
  const button = make('button', { type: 'button', class: 'word', lang: language }, labelOf(concept, language));
  button.addEventListener('click', () => (language === 'en' ? askFor(captionOf(englishOf(concept)), 'en') : askFor(labelOf(concept, language), language)));
  return make('li', {}, button);
}

async function render(): Promise<void> {
  const concepts = await loadConcepts();
  byId('knows-words', HTMLUListElement).replaceChildren(...concepts.map(word));
}

export function startKnows(): void {
  const heed = () => void (details.open && render());
  details.addEventListener('toggle', heed);
  watch((now) => now.language, heed);
}
