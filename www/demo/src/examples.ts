/**
 * Prompts that the embedded model knows, each in its eight languages, and which language a text is in.
 * The words are emojibase's labels, which the model was trained on; other models take any prompt.
 */

import examples from './examples.json';
import languages from './languages.json';

/** With their own names, in the order in which they are shown. `vite.config.ts` writes them into the page. */
export const LANGUAGES = languages as ReadonlyArray<{ code: Language; name: string }>;

export type Language = 'en' | 'zh' | 'de' | 'fr' | 'ja' | 'es' | 'ru' | 'vi';
export type Example = Readonly<Record<Language, string>>;

/** The first is shown in every language. `scripts/pictures.mjs` painted the pictures of all of them, from this seed. */
export const EXAMPLES: readonly Example[] = examples;
export const SEED = 7;

/** The example that reads like this, in any language. */
export function exampleOf(text: string): Example | undefined {
  const wanted = text.trim();
  return EXAMPLES.find((example) => Object.values(example).includes(wanted));
}

/** Words that a caption in one of the Latin scripts hardly does without. */
const SMALL_WORDS: ReadonlyArray<readonly [Language, RegExp]> = [
  ['en', /\b(an?|the|on|of|with|in|and|background)\b/giu],
  ['de', /\b(eine?[mnr]?|der|die|das|auf|vor|im|mit|und|hintergrund)\b/giu],
  ['fr', /\b(une?|les?|la|sur|fond|avec|style|et)\b/giu],
  ['es', /\b(una?|el|la|los|las|sobre|fondo|con|estilo|y)\b/giu],
];

/** The language of a text by its script and its small words, or of an example exactly; `otherwise` where nothing tells. */
export function languageOf(text: string, otherwise: string): string {
  const wanted = text.trim();
  const example = exampleOf(wanted);
  const exact = LANGUAGES.find(({ code }) => example?.[code] === wanted);
  if (exact) return exact.code;
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return 'ja';
  if (/\p{Script=Han}/u.test(text)) return otherwise === 'ja' ? 'ja' : 'zh';
  if (/\p{Script=Cyrillic}/u.test(text)) return 'ru';
  if (/[ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹđơư]/iu.test(text)) return 'vi';
  return bySmallWords(text, otherwise);
}

function bySmallWords(text: string, otherwise: string): string {
  const counts = SMALL_WORDS.map(([code, words]) => [code, text.match(words)?.length ?? 0] as const);
  const most = Math.max(...counts.map(([, count]) => count));
  const likely = counts.filter(([, count]) => count === most).map(([code]) => code as string);
  // A script of its own contradicts a Latin text.
  const possible = !['zh', 'ja', 'ru'].includes(otherwise) || !/\p{Script=Latin}/u.test(text);
  if (most === 0) return possible ? otherwise : 'en';
  return likely.includes(otherwise) ? otherwise : (likely[0] ?? otherwise);
}
