/**
 * The things that the embedded model was trained to paint, by their labels in eight languages, and which of them a
 * prompt names. `scripts/words.mjs` wrote the list; it is loaded when it is first needed.
 */

import { LANGUAGES, type Language } from './examples';
import { update } from './state';

/** A thing, and what it is called, in the order of `LANGUAGES`. */
export type Concept = readonly string[];

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

/** The name that the language model answers with. */
export function englishOf(concept: Concept): string {
  return (concept[0] ?? '').toLowerCase();
}

/** Capital letters, accents and the Russian ё make no other word. */
function plain(text: string): string {
  return text.normalize('NFKD').replace(/\p{Mark}/gu, '').toLowerCase();
}

/** A word without its ending, which cases and plurals change. */
function stem(word: string): string {
  return word.slice(0, Math.max(3, Math.ceil(word.length * 0.7)));
}

function wordsOf(text: string): string[] {
  return plain(text).match(/[\p{Letter}\p{Number}]+/gu) ?? [];
}

/** How much of a label is in a prompt: the share of its words, or all or nothing where a script sets no spaces. */
function shareOf(label: string, prompt: string, words: readonly string[]): number {
  if (/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u.test(label)) return plain(prompt).includes(plain(label)) ? 1 : 0;
  const wanted = wordsOf(label);
  const found = wanted.filter((word) => words.some((said) => said.startsWith(stem(word)) && said.length <= word.length + 3));
  return found.length / wanted.length;
}

/** How well a prompt names a thing, in any language: 1 fully, 0 not at all. */
export function namedBy(prompt: string, concept: Concept): number {
  const words = wordsOf(prompt);
  return Math.max(...concept.map((label) => shareOf(label, prompt, words)));
}
