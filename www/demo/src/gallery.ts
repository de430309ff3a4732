/** The pictures painted here: shown, picked to be compared, deleted. `store.ts` keeps them. */

import { confirm } from './confirm';
import { byId, iconButton, make } from './dom';
import { bytes, count } from './format';
import { announce } from './live';
import { inform } from './notice';
import { isSmall } from './crisp';
import { nameOf } from './names';
import { state, update, watch } from './state';
import { allPictures, deleteAllPictures, deletePicture, releasePicture, urlOf, type Picture } from './store';

const tiles = byId('tiles', HTMLUListElement);
const clear = byId('clear', HTMLButtonElement);
const note = byId('gallery-note', HTMLParagraphElement);

/** Tiles by the id of their picture; made once each. */
const made = new Map<number, HTMLLIElement>();

function show(picture: Picture): void {
  update({ shown: { kind: 'picture', picture }, picked: [] });
  announce(`Shown: ${nameOf(picture)}`);
  byId('frame', HTMLDivElement).scrollIntoView({ block: 'nearest' });
}

/** Picks a picture or lets it go; the second one opens the comparison. */
function pick(picture: Picture): void {
  const { picked, pictures } = state();
  if (picked.includes(picture.id)) {
    update({ picked: picked.filter((id) => id !== picture.id), ...(state().shown.kind === 'compare' ? { shown: { kind: 'picture', picture } } : {}) });
    return;
  }
  // A third one takes the place of the second.
  const next = [...picked.slice(0, 1), picture.id];
  const [first, second] = next.map((id) => pictures.find((one) => one.id === id));
  update({ picked: next });
  if (first && second) update({ shown: { kind: 'compare', first, second } });
  else announce('Picked. Pick a second picture to compare.');
}

async function remove(picture: Picture): Promise<void> {
  const { pictures, shown } = state();
  const index = pictures.indexOf(picture);
  const left = pictures.filter((one) => one !== picture);
  const seen = shown.kind === 'picture' ? shown.picture === picture : shown.kind === 'compare' && [shown.first, shown.second].includes(picture);
  update({ pictures: left, picked: state().picked.filter((id) => id !== picture.id), ...(seen ? { shown: { kind: 'nothing' } } : {}) });
  const neighbour = left[Math.min(index, left.length - 1)];
  const next = neighbour ? made.get(neighbour.id)?.querySelector('button') : byId('prompt', HTMLTextAreaElement);
  next?.focus();
  announce('Deleted');
  releasePicture(picture);
  await deletePicture(picture.id).catch(() => inform('The picture could not be deleted from this device.'));
}

async function removeAll(): Promise<void> {
  const gone = state().pictures;
  update({ pictures: [], picked: [], shown: { kind: 'nothing' } });
  byId('prompt', HTMLTextAreaElement).focus();
  announce('Gallery cleared');
  for (const picture of gone) releasePicture(picture);
  await deleteAllPictures().catch(() => inform('The gallery could not be cleared.'));
}

async function confirmRemoveAll(): Promise<void> {
  const question = `Delete ${count(state().pictures.length, 'picture')} from this device? They cannot be brought back.`;
  if (await confirm(question, 'Delete', 'Keep')) await removeAll();
}

function tile(picture: Picture): HTMLLIElement {
  const name = nameOf(picture);
  const image = make('img', { class: isSmall(picture) ? 'crisp' : undefined, src: urlOf(picture.thumbnail), alt: '', width: picture.width, height: picture.height, decoding: 'async' });
  const open = make('button', { type: 'button', class: 'tile-picture', 'aria-label': `Show: ${name}` }, image);
  open.addEventListener('click', () => show(picture));
  const compare = iconButton('compare', `Compare: ${name}`, { 'aria-pressed': 'false', title: 'Compare' });
  compare.addEventListener('click', () => pick(picture));
  const trash = iconButton('delete', `Delete: ${name}`, { title: 'Delete' });
  trash.addEventListener('click', () => void remove(picture));
  const words = make('p', { class: 'tile-words', lang: picture.lang, dir: 'auto', title: picture.text }, picture.text || 'Without words');
  const seed = make('span', { class: 'small' }, `seed ${picture.seed}`);
  return make('li', { class: 'tile' }, open, words, make('div', { class: 'tile-tools' }, seed, compare, trash));
}

function render(pictures: readonly Picture[]): void {
  for (const id of made.keys()) if (!pictures.some((picture) => picture.id === id)) made.delete(id);
  for (const picture of pictures) if (!made.has(picture.id)) made.set(picture.id, tile(picture));
  const wanted = pictures.flatMap((picture) => made.get(picture.id) ?? []);
  for (const old of [...tiles.children]) if (!wanted.includes(old as HTMLLIElement)) old.remove();
  for (const [index, one] of wanted.entries()) if (tiles.children[index] !== one) tiles.insertBefore(one, tiles.children[index] ?? null);
  clear.hidden = tiles.hidden = pictures.length === 0;
  byId('gallery-empty', HTMLParagraphElement).hidden = pictures.length > 0;
  const weight = pictures.reduce((sum, picture) => sum + picture.png.size, 0);
  note.textContent = pictures.length === 0 ? '' : `${count(pictures.length, 'picture')}, ${bytes(weight)}${pictures.length > 1 ? '. Pick two to compare them.' : ''}`;
}

/** Marks what hangs on the easel and what is picked. */
function mark(): void {
  const { shown, picked } = state();
  for (const [id, one] of made) {
    one.querySelector('[aria-pressed]')?.setAttribute('aria-pressed', String(picked.includes(id)));
    const current = shown.kind === 'picture' && shown.picture.id === id;
    one.querySelector('.tile-picture')?.toggleAttribute('aria-current', current);
  }
}

export async function startGallery(): Promise<void> {
  clear.addEventListener('click', () => void confirmRemoveAll());
  watch((now) => now.pictures, render);
  watch((now) => now.picked, mark);
  watch((now) => now.shown, mark);
  try {
    const kept = await allPictures();
    const [newest] = kept;
    update({ pictures: kept, ...(newest ? { shown: { kind: 'picture', picture: newest } } : {}) });
  } catch {
    inform('This browser keeps no gallery.', 'Pictures last for this visit only.');
  }
}
