/** Two pictures on one easel and a seam between them, moved by a range input that lies over both. */

import { isSmall } from './crisp';
import { byId, iconButton, make } from './dom';
import { announce } from './live';
import { nameOf } from './names';
import { state, update, watch, type Shown } from './state';
import { urlOf, type Picture } from './store';

const panel = byId('compare', HTMLDivElement);
const below = byId('compare-below', HTMLImageElement);
const above = byId('compare-above', HTMLImageElement);
const slider = byId('compare-slider', HTMLInputElement);
const plate = byId('plate', HTMLDivElement);

function move(): void {
  panel.style.setProperty('--seam', `${slider.value}%`);
  slider.setAttribute('aria-valuetext', `${slider.value} % first picture, ${100 - slider.valueAsNumber} % second`);
}

function hang(image: HTMLImageElement, picture: Picture): void {
  image.src = urlOf(picture.png);
  image.alt = nameOf(picture);
  image.lang = picture.lang;
  image.classList.toggle('crisp', isSmall(picture));
}

function half(side: string, picture: Picture): HTMLElement {
  const words = make('p', { class: 'saying', lang: picture.lang, dir: 'auto' }, picture.text.trim() || 'Without words');
  return make('div', { class: 'half' }, make('p', { class: 'small' }, `${side}, seed ${picture.seed}`), words);
}

function close(): void {
  const { shown } = state();
  if (shown.kind !== 'compare') return;
  update({ shown: { kind: 'picture', picture: shown.second }, picked: [] });
  byId('tiles', HTMLUListElement).querySelector<HTMLButtonElement>('[aria-current]')?.focus();
}

function swap(): void {
  const { shown } = state();
  if (shown.kind === 'compare') update({ shown: { kind: 'compare', first: shown.second, second: shown.first } });
  plate.querySelector<HTMLButtonElement>('[data-swap]')?.focus();
}

function render(shown: Shown): void {
  panel.hidden = shown.kind !== 'compare';
  if (shown.kind !== 'compare') return;
  hang(above, shown.first);
  hang(below, shown.second);
  slider.value = '50';
  move();
  const turn = iconButton('swap', 'Swap the two', { 'data-swap': true });
  turn.addEventListener('click', swap);
  const end = iconButton('close', 'Close the comparison');
  end.addEventListener('click', close);
  plate.replaceChildren(make('div', { class: 'halves' }, half('Left', shown.first), half('Right', shown.second)), make('div', { class: 'plate-tools' }, turn, end));
  slider.focus();
  announce(`Comparing ${nameOf(shown.first)} with ${nameOf(shown.second)}`);
}

export function startCompare(): void {
  slider.addEventListener('input', move);
  watch((now) => now.shown, render);
}
