/**
 * The plate under the easel: the words, what the model understood and whether to believe it, what can be done with the
 * picture, and how it was made.
 */

import { attach, canRead } from './attach';
import { copyPicture, copyText } from './copy';
import { byId, icon, make } from './dom';
import { askFor } from './form';
import { milliseconds, size } from './format';
import { linkTo } from './link';
import { fileName } from './names';
import { useSeed } from './settings';
import { state, watch, type Job, type State } from './state';
import { urlOf, type Picture } from './store';
import { captionOf, doubt, sayScene, sceneOf, type Doubt } from './understood';

const plate = byId('plate', HTMLDivElement);

function fact(term: string, value: Node | string): HTMLDivElement {
  return make('div', {}, make('dt', {}, term), make('dd', {}, value));
}

/** The time of each phase, as a bar and in words. */
function timings({ timings: spent }: Picture): HTMLDivElement {
  const all = [['Read', spent.encode], ['Painted', spent.denoise], ['Developed', spent.decode]] as const;
  const phases = all.filter(([, time]) => time > 0);
  const strip = make('div', { class: 'strip', 'aria-hidden': 'true' });
  for (const [, time] of phases) {
    const part = make('span');
    part.style.flexGrow = String(Math.max(time, spent.total / 200));
    strip.append(part);
  }
  const list = make('dl', { class: 'times' }, ...phases.map(([name, time]) => fact(name, milliseconds(time))), fact('Together', milliseconds(spent.total)));
  return make('div', { class: 'timings' }, strip, list);
}

/** A button that puts the picture into the prompt, for the visitor to say what should change. */
function goOn(of: Picture): HTMLButtonElement {
  const button = make('button', { type: 'button', class: 'quiet icon-and-word' }, icon('image'), 'Go on from it');
  button.addEventListener('click', () => {
    const prompt = byId('prompt', HTMLTextAreaElement);
    void attach([of.png]);
    prompt.focus();
    prompt.select();
  });
  return button;
}

/** What the model made of the words. */
function understood(answer: string, label = 'Understood as: '): HTMLElement {
  const scene = sceneOf(answer);
  return make('p', { class: 'understood', lang: 'en' }, make('span', { class: 'label' }, label), scene === undefined ? answer : sayScene(scene));
}

/** The same of a picture that is painted, and whether it is to be believed. */
function judged({ text, answer, confidence = {}, isOfWords = true }: Picture): HTMLElement[] {
  if (answer === undefined) return [];
  const found = doubt(isOfWords ? text : '', answer, confidence, state().concepts);
  if (found === undefined) return [understood(answer)];
  // An answer that names what it does not know is said by the box.
  return [...(confidence.unknown === undefined ? [understood(answer, 'A guess: ')] : []), doubtBox(found)];
}

/** Why not, and what may have been meant. */
function doubtBox(found: Doubt): HTMLElement {
  const buttons = found.nearest.map((thing) => {
    const button = make('button', { type: 'button', class: 'word', lang: 'en' }, thing);
    button.addEventListener('click', () => askFor(captionOf(thing), 'en'));
    return make('li', {}, button);
  });
  const nearest = make('div', { class: 'nearest' }, make('span', { class: 'label', id: 'nearest-label' }, 'Nearest:'), make('ul', { class: 'words', 'aria-labelledby': 'nearest-label' }, ...buttons));
  return make('div', { class: 'doubt' }, make('p', {}, found.text), ...(buttons.length > 0 ? [nearest] : []));
}

function tool(name: string, label: string, act: () => void): HTMLButtonElement {
  const button = make('button', { type: 'button', class: 'quiet icon-and-word' }, icon(name), label);
  button.addEventListener('click', act);
  return button;
}

/** What can be done with a picture. Its link says its words; files that were shown are not in it. */
function toolsOf(of: Picture): HTMLElement {
  const download = make('a', { class: 'quiet icon-and-word', href: urlOf(of.png), download: fileName(of) }, icon('download'), 'Download');
  const link = of.isOfWords === false ? [] : [tool('link', 'Copy link', () => void copyText(linkTo(of), 'The link'))];
  const copy = tool('copy', 'Copy picture', () => void copyPicture(of.png));
  return make('div', { class: 'plate-tools' }, ...(canRead('image') ? [goOn(of)] : []), ...link, copy, download);
}

function plateOf(of: Picture): HTMLElement[] {
  const reuse = make('button', { type: 'button', class: 'link', title: 'Use this seed again' }, String(of.seed));
  reuse.setAttribute('aria-label', `Use seed ${of.seed} again`);
  reuse.addEventListener('click', () => useSeed(of.seed));
  const words = make('p', { class: 'saying', lang: of.lang, dir: 'auto' }, of.text.trim() || 'Without words');
  const facts = make('dl', { class: 'facts' }, fact('Seed', reuse), fact('Steps', String(of.steps)), fact('Size', size(of.width, of.height)), fact('On', of.device));
  return [words, ...judged(of), toolsOf(of), facts, timings(of)];
}

/** While a picture is painted: what was asked for. */
function plateOfJob({ text, lang, options }: Job, answer: string | undefined): HTMLElement[] {
  const facts = make('dl', { class: 'facts' });
  if (options.seed !== undefined) facts.append(fact('Seed', String(options.seed)));
  if (options.steps !== undefined) facts.append(fact('Steps', String(options.steps)));
  if (options.width && options.height) facts.append(fact('Size', size(options.width, options.height)));
  return [make('p', { class: 'saying', lang, dir: 'auto' }, text.trim() || 'Without words'), ...(answer === undefined ? [] : [understood(answer)]), facts];
}

function renderPlate({ running, shown }: Readonly<State>): void {
  // compare.ts writes its own.
  if (shown.kind === 'compare') return;
  if (running) plate.replaceChildren(...plateOfJob(running.job, running.answer));
  else if (shown.kind === 'picture') plate.replaceChildren(...plateOf(shown.picture));
  else plate.replaceChildren();
}

export function startPlate(): void {
  for (const part of [(now: State) => now.model.kind, (now: State) => now.shown, (now: State) => now.running?.job, (now: State) => now.running?.answer, (now: State) => now.concepts]) {
    watch<unknown>(part, () => renderPlate(state()));
  }
}
