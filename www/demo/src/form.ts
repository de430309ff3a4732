/** The prompt: its words, their language, the examples, and the way into the queue. */

import { attached } from './attach';
import { byId, iconButton, make } from './dom';
import { EXAMPLES, exampleOf, LANGUAGES, languageOf, type Language } from './examples';
import { announce } from './live';
import { inform } from './notice';
import { readSettings, rollSeed } from './settings';
import { state, watch, type Job } from './state';
import { cancel, forget, paint } from './studio';

const form = byId('form', HTMLFormElement);
const prompt = byId('prompt', HTMLTextAreaElement);
const pills = byId('languages', HTMLDivElement);
const list = byId('examples', HTMLUListElement);
const all = byId('all-languages', HTMLButtonElement);
const queue = byId('queue', HTMLOListElement);

let language: Language = 'en';

/** Puts words into the prompt, as an example or a dropped picture has them. */
export function fillPrompt(text: string): void {
  prompt.value = text;
  heed();
}

/** Follows the words: their language, and whether they are an example in eight languages. */
function heed(): void {
  prompt.lang = languageOf(prompt.value, language);
  all.hidden = exampleOf(prompt.value) === undefined;
  const known = LANGUAGES.find(({ code }) => code === prompt.lang);
  if (known && known.code !== language) speak(known.code);
}

/** Shows the examples in a language. */
function speak(next: Language): void {
  language = next;
  const radio = pills.querySelector<HTMLInputElement>(`input[value="${next}"]`);
  if (radio) radio.checked = true;
  for (const [index, button] of [...list.querySelectorAll('button')].entries()) {
    button.textContent = EXAMPLES[index]?.[next] ?? '';
    button.lang = next;
  }
}

/** A picture of these words, as the fields ask for it. */
function jobOf(text: string, lang: string, options = readSettings()): Omit<Job, 'id'> {
  const shown = attached();
  return { text, lang, parts: text === '' ? shown : [...shown, { text }], options };
}

function submit(): void {
  const text = prompt.value.trim();
  if (text === '' && attached().length === 0) {
    prompt.focus();
    inform('The prompt is empty.', 'Say what to paint, or pick an example.');
    return;
  }
  paint(jobOf(text, prompt.lang));
  byId('frame', HTMLDivElement).scrollIntoView({ block: 'nearest' });
  const start = byId('welcome-start', HTMLButtonElement);
  if (state().model.kind !== 'absent') return;
  start.focus();
  announce('The picture waits for the model. Start the download to paint it.');
}

function submitInAllLanguages(): void {
  const example = exampleOf(prompt.value);
  if (example === undefined) return;
  const options = { seed: rollSeed(), ...readSettings() };
  for (const { code } of LANGUAGES) paint(jobOf(example[code], code, options));
}

function pill(code: Language, name: string): HTMLLabelElement {
  const radio = make('input', { type: 'radio', name: 'language', value: code, checked: code === language });
  radio.addEventListener('change', () => {
    // An example changes its language; words of the visitor's own stay as they are.
    const example = exampleOf(prompt.value);
    speak(code);
    if (example) fillPrompt(example[code]);
    else prompt.lang = languageOf(prompt.value, code);
    prompt.placeholder = EXAMPLES[0]?.[code] ?? '';
  });
  return make('label', { class: 'pill' }, radio, make('span', { lang: code }, name));
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
  pills.append(...LANGUAGES.map(({ code, name }) => pill(code, name)));
  for (const example of EXAMPLES) {
    const button = make('button', { type: 'button', class: 'example', lang: language }, example[language]);
    button.addEventListener('click', () => {
      fillPrompt(example[language]);
      announce('Prompt filled');
    });
    list.append(make('li', {}, button));
  }
  prompt.addEventListener('input', heed);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  all.addEventListener('click', submitInAllLanguages);
  document.addEventListener('keydown', onKey);
  watch((now) => now.queue, renderQueue);
}
