/**
 * Links that carry a picture's recipe: `?prompt=&seed=&lang=`, with `steps` and `size` where they are not the model's own.
 * A link fills the form; painting, which may download the model, takes the visitor's tap.
 */

import { LANGUAGES, type Language } from './examples';
import { fillPrompt } from './form';
import { inform } from './notice';
import { fillFields } from './settings';
import { state, update } from './state';
import type { Picture } from './store';

const RECIPE = ['prompt', 'seed', 'lang', 'steps', 'size'];

/** The address that fills the form with what made a picture. */
export function linkTo(picture: Picture): string {
  const { model } = state();
  const url = new URL(location.href);
  url.hash = '';
  for (const name of RECIPE) url.searchParams.delete(name);
  url.searchParams.set('prompt', picture.text);
  url.searchParams.set('seed', String(picture.seed));
  url.searchParams.set('lang', picture.lang);
  const own = model.kind === 'ready' ? model.model.defaults : undefined;
  if (picture.steps !== own?.steps) url.searchParams.set('steps', String(picture.steps));
  if (picture.width !== own?.width || picture.height !== own?.height) url.searchParams.set('size', `${picture.width}x${picture.height}`);
  return url.href;
}

function isLanguage(code: string | null): code is Language {
  return LANGUAGES.some((language) => language.code === code);
}

/** Fills the form from the page's own address. */
export function startLink(): void {
  const asked = new URLSearchParams(location.search);
  const prompt = asked.get('prompt');
  if (prompt === null) return;
  const lang = asked.get('lang');
  if (isLanguage(lang)) update({ language: lang });
  fillPrompt(prompt);
  const [width, height] = (asked.get('size') ?? '').split('x').map(Number);
  fillFields({ seed: asked.get('seed') ?? '', steps: asked.get('steps') ?? '', ...(width && height ? { width, height } : {}) });
  inform('This link brought a prompt.', 'Paint paints its picture.');
}
