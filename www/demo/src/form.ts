/** The prompt: its words, their language, and the way into the queue. */

import { attached } from './attach';
import { byId, iconButton, make } from './dom';
import { EXAMPLES, exampleOf, LANGUAGES, languageOf, type Language } from './examples';
import { inform } from './notice';
import { readSettings, rollSeed } from './settings';
import { state, update, watch, type Job } from './state';
import { cancel, forget, paint } from './studio';

const form = byId('form', HTMLFormElement);
const prompt = byId('prompt', HTMLTextAreaElement);
const pills = byId('languages', HTMLDivElement);
const all = byId('all-languages', HTMLButtonElement);
const queue = byId('queue', HTMLOListElement);

/** Puts words into the prompt, as an example or a dropped picture has them. */
export function fillPrompt(text: string): void {
  prompt.value = text;
  heed();
}

/** Follows the words: their language, and whether they are an example in eight languages. */
function heed(): void {
  prompt.lang = languageOf(prompt.value, state().language);
  all.hidden = exampleOf(prompt.value) === undefined;
  const known = LANGUAGES.find(({ code }) => code === prompt.lang);
  if (known) update({ language: known.code });
}

/** Marks the language of the examples. */
function speak(language: Language): void {
  const radio = pills.querySelector<HTMLInputElement>(`input[value="${language}"]`);
  if (radio) radio.checked = true;
  prompt.placeholder = EXAMPLES[0]?.[language] ?? '';
}

/** A picture of these words, as the fields ask for it. */
function jobOf(text: string, lang: string, options: Job['options']): Omit<Job, 'id'> {
  const shown = attached();
  return { text, lang, parts: text === '' ? shown : [...shown, { text }], options };
}

/** Puts a picture into the queue, and its place into sight: on a phone with what the model understood, which is under it. */
function order(job: Omit<Job, 'id'>): void {
  paint(job);
  const isWide = matchMedia('(min-width: 46rem)').matches;
  byId('frame', HTMLDivElement).scrollIntoView({ block: isWide ? 'nearest' : 'start' });
}

/** Fills the prompt with words that the page offers, and paints them; from `seed` where the visitor asks for none. */
export function askFor(text: string, lang: string, seed?: number): void {
  fillPrompt(text);
  prompt.lang = lang;
  const options = readSettings();
  if (options === undefined) return;
  order({ text, lang, parts: [{ text }], options: { ...(seed === undefined ? {} : { seed }), ...options } });
}

function submit(): void {
  const text = prompt.value.trim();
  if (text === '' && attached().length === 0) {
    prompt.focus();
    inform('The prompt is empty.', 'Say what to paint, or pick an example.');
    return;
  }
  const options = readSettings();
  if (options !== undefined) order(jobOf(text, prompt.lang, options));
}

function submitInAllLanguages(): void {
  const example = exampleOf(prompt.value);
  const fields = readSettings();
  if (example === undefined || fields === undefined) return;
  const options = { seed: rollSeed(), ...fields };
  for (const { code } of LANGUAGES) paint(jobOf(example[code], code, options));
}

/** An example changes its language; words of the visitor's own stay as they are. */
function choose(language: Language): void {
  const example = exampleOf(prompt.value);
  update({ language });
  if (example) fillPrompt(example[language]);
  else prompt.lang = languageOf(prompt.value, language);
}

function renderQueue(jobs: readonly Job[]): void {
  const held = queue.contains(document.activeElement);
  queue.hidden = jobs.length === 0;
  queue.replaceChildren(
    ...jobs.map((job) => {
      const remove = iconButton('close', `Do not paint: ${job.text}`);
      remove.addEventListener('click', () => forget(job.id));
      return make('li', {}, make('span', { lang: job.lang, dir: 'auto' }, job.text || 'Pictures only'), remove);
    }),
  );
  if (held) (queue.querySelector('button') ?? prompt).focus({ preventScroll: true });
}

function onKey(event: KeyboardEvent): void {
  if (event.key === 'Escape' && !document.querySelector('dialog[open]')) {
    if (cancel()) event.preventDefault();
    return;
  }
  // An input method takes Enter for itself while it composes.
  const inPrompt = event.target === prompt && !event.isComposing && !event.shiftKey;
  if (event.key === 'Enter' && (inPrompt || event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
}

export function startForm(): void {
  pills.addEventListener('change', ({ target }) => target instanceof HTMLInputElement && choose(target.value as Language));
  prompt.addEventListener('input', heed);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  all.addEventListener('click', submitInAllLanguages);
  document.addEventListener('keydown', onKey);
  watch((now) => now.queue, renderQueue);
  watch((now) => now.language, speak);
}
