/** Which things a prompt names, by their labels in all languages. */

/** A thing, and what it is called in each language, English first. */
export type Concept = readonly string[];

/** The name that the language model answers with. */
export function englishOf(concept: Concept): string {
  return (concept[0] ?? '').toLowerCase();
}

/** Words of labels that tell no thing, as {@link plain} writes them: colours, which most prompts have, and small words. */
const EMPTY = new Set(
  (
    'red green blue white roter rote rotes gruner grune blau weiss rouge vert verte bleu blanc rojo roja verde azul blanco красное красныи зеленое синии белыи do xanh trang ' +
    'of the a with de du des la le les el los con a la von mit и на с qua con cai'
  ).split(' '),
);

/** Letters of a word that names a thing by itself. */
const TELLING = 4;

/** Capital letters, accents and the Russian ё make no other word. */
function plain(text: string): string {
  return text.normalize('NFKD').replace(/\p{Mark}/gu, '').toLowerCase();
}

/** Whether a word is this one, or a form of it: cases and plurals change the end of all but short words. */
function isFormOf(word: string, said: string): boolean {
  if (word.length < 4) return said === word || (word.length === 3 && said === `${word}s`);
  return said.startsWith(word.slice(0, Math.max(3, Math.ceil(word.length * 0.7)))) && said.length <= word.length + 3;
}

function wordsOf(text: string): string[] {
  return plain(text).match(/[\p{Letter}\p{Number}]+/gu) ?? [];
}

/** How much of a label is in a prompt: the share of its words, or all or nothing where a script sets no spaces. */
function shareOf(label: string, prompt: string, words: readonly string[]): number {
  if (/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u.test(label)) return plain(prompt).includes(plain(label)) ? 1 : 0;
  const all = wordsOf(label);
  const telling = all.filter((word) => !EMPTY.has(word));
  const wanted = telling.length > 0 ? telling : all;
  const found = wanted.filter((word) => words.some((said) => isFormOf(word, said)));
  // A short word alone may be a syllable of another one, as in Vietnamese: a part of a label is told by a longer one.
  const isTold = found.length === wanted.length || found.some((word) => word.length >= TELLING);
  return isTold ? found.length / wanted.length : 0;
}

/** How well a prompt names a thing, in any language: 1 fully, 0 not at all. */
export function namedBy(prompt: string, concept: Concept): number {
  const words = wordsOf(prompt);
  return Math.max(...concept.map((label) => shareOf(label, prompt, words)));
}
