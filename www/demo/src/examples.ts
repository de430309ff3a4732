/**
 * Prompts that the embedded model knows, each in its eight languages, and which language a text is in.
 * The words are emojibase's labels, which the model was trained on; other models take any prompt.
 */

export const LANGUAGES = [
  { code: 'en', name: 'English' },
  { code: 'zh', name: '中文' },
  { code: 'de', name: 'Deutsch' },
  { code: 'fr', name: 'Français' },
  { code: 'ja', name: '日本語' },
  { code: 'es', name: 'Español' },
  { code: 'ru', name: 'Русский' },
  { code: 'vi', name: 'Tiếng Việt' },
] as const;

export type Language = (typeof LANGUAGES)[number]['code'];
export type Example = Readonly<Record<Language, string>>;

export const EXAMPLES: readonly Example[] = [
  {
    en: 'a red apple on a blue background',
    zh: '蓝色背景上的红苹果',
    de: 'roter Apfel auf blauem Hintergrund',
    fr: 'pomme rouge sur fond bleu',
    ja: '青の背景に赤リンゴ',
    es: 'manzana roja sobre fondo azul',
    ru: 'красное яблоко на синем фоне',
    vi: 'táo đỏ trên nền xanh dương',
  },
  {
    en: 'a penguin on a yellow background, twemoji style',
    zh: '黄色背景上的企鹅，twemoji风格',
    de: 'Pinguin auf gelbem Hintergrund, twemoji-Stil',
    fr: 'pingouin sur fond jaune, style twemoji',
    ja: '黄色の背景にペンギン、twemojiスタイル',
    es: 'pingüino sobre fondo amarillo, estilo twemoji',
    ru: 'пингвин на жёлтом фоне, стиль twemoji',
    vi: 'chim cánh cụt trên nền vàng, phong cách twemoji',
  },
  {
    en: 'a cactus on a pink background',
    zh: '粉色背景上的仙人掌',
    de: 'Kaktus auf rosa Hintergrund',
    fr: 'cactus sur fond rose',
    ja: 'ピンクの背景にサボテン',
    es: 'cactus sobre fondo rosa',
    ru: 'кактус на розовом фоне',
    vi: 'cây xương rồng trên nền hồng',
  },
  {
    en: 'a rocket on a purple background, fluent style',
    zh: '紫色背景上的火箭，fluent风格',
    de: 'Rakete auf lila Hintergrund, fluent-Stil',
    fr: 'fusée sur fond violet, style fluent',
    ja: '紫の背景にロケット、fluentスタイル',
    es: 'cohete sobre fondo morado, estilo fluent',
    ru: 'ракета на фиолетовом фоне, стиль fluent',
    vi: 'tên lửa trên nền tím, phong cách fluent',
  },
  {
    en: 'a strawberry on a green background',
    zh: '绿色背景上的草莓',
    de: 'Erdbeere auf grünem Hintergrund',
    fr: 'fraise sur fond vert',
    ja: '緑の背景にいちご',
    es: 'fresa sobre fondo verde',
    ru: 'клубника на зелёном фоне',
    vi: 'dâu tây trên nền xanh lá',
  },
  {
    en: 'a watermelon on a white background, openmoji style',
    zh: '白色背景上的西瓜，openmoji风格',
    de: 'Wassermelone auf weißem Hintergrund, openmoji-Stil',
    fr: 'pastèque sur fond blanc, style openmoji',
    ja: '白の背景にスイカ、openmojiスタイル',
    es: 'sandía sobre fondo blanco, estilo openmoji',
    ru: 'арбуз на белом фоне, стиль openmoji',
    vi: 'dưa hấu trên nền trắng, phong cách openmoji',
  },
];

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
