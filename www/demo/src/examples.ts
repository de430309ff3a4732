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
    en: 'an octopus on a yellow background, twemoji style',
    zh: '黄色背景上的章鱼，twemoji风格',
    de: 'Oktopus auf gelbem Hintergrund, twemoji-Stil',
    fr: 'pieuvre sur fond jaune, style twemoji',
    ja: '黄色の背景にタコ、twemojiスタイル',
    es: 'pulpo sobre fondo amarillo, estilo twemoji',
    ru: 'осьминог на жёлтом фоне, стиль twemoji',
    vi: 'bạch tuộc trên nền vàng, phong cách twemoji',
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
    en: 'an owl on a green background',
    zh: '绿色背景上的猫头鹰',
    de: 'Eule auf grünem Hintergrund',
    fr: 'chouette sur fond vert',
    ja: '緑の背景にフクロウ',
    es: 'búho sobre fondo verde',
    ru: 'сова на зелёном фоне',
    vi: 'cú trên nền xanh lá',
  },
  {
    en: 'a croissant on a white background, openmoji style',
    zh: '白色背景上的羊角面包，openmoji风格',
    de: 'Croissant auf weißem Hintergrund, openmoji-Stil',
    fr: 'croissant sur fond blanc, style openmoji',
    ja: '白の背景にクロワッサン、openmojiスタイル',
    es: 'cruasán sobre fondo blanco, estilo openmoji',
    ru: 'круассан на белом фоне, стиль openmoji',
    vi: 'bánh sừng bò trên nền trắng, phong cách openmoji',
  },
];

/** The example that reads like this, in any language. */
export function exampleOf(text: string): Example | undefined {
  const wanted = text.trim();
  return EXAMPLES.find((example) => Object.values(example).includes(wanted));
}

/** The language of a text by its script, or of an example exactly; `otherwise` where neither tells. */
export function languageOf(text: string, otherwise: string): string {
  const wanted = text.trim();
  const example = exampleOf(wanted);
  const exact = LANGUAGES.find(({ code }) => example?.[code] === wanted);
  // "cactus" alone is the same word in several languages.
  if (example && exact) return example[otherwise as Language] === wanted ? otherwise : exact.code;
  if (/[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text)) return 'ja';
  if (/\p{Script=Han}/u.test(text)) return otherwise === 'ja' ? 'ja' : 'zh';
  if (/\p{Script=Cyrillic}/u.test(text)) return 'ru';
  if (/[ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹđơư]/iu.test(text)) return 'vi';
  // A script of its own contradicts a Latin text.
  return ['zh', 'ja', 'ru'].includes(otherwise) && /\p{Script=Latin}/u.test(text) ? 'en' : otherwise;
}
