/**
 * The things that the embedded model was trained to paint, by their labels in the order of `LANGUAGES`.
 * `scripts/words.mjs` wrote the list; it is loaded when it is first needed.
 */

import { LANGUAGES, type Language } from './examples';
import { englishOf, type Concept } from './naming';
import { update } from './state';

let loading: Promise<readonly Concept[]> | undefined;

/** Loads the list, once, and puts it into the state. */
export function loadConcepts(): Promise<readonly Concept[]> {
  loading ??= import('./words.json').then(({ default: concepts }) => {
    update({ concepts });
    return concepts;
  });
  return loading;
}

/** What a thing is called in a language. */
export function labelOf(concept: Concept, language: Language): string {
  return concept[LANGUAGES.findIndex(({ code }) => code === language)] ?? englishOf(concept);
}
