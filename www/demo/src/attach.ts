/**
 * What the prompt shows beside its words: pictures, videos and sounds, chosen, dropped, pasted, taken or recorded; as
 * chips in their order; refused at once by a model that can't read them.
 */

import type { Modality, PromptPart } from '@x2i/web';
import { byId, icon, iconButton, make } from './dom';
import { announce } from './live';
import { inform } from './notice';
import { state, watch } from './state';
import { urlOf } from './store';

export type Kind = Exclude<Modality, 'text'>;

interface Attachment {
  kind: Kind;
  file: Blob;
}

const chips = byId('chips', HTMLUListElement);
const reads = byId('reads', HTMLParagraphElement);
/** What each button brings, of which the model must read at least one. */
const BUTTONS: ReadonlyArray<readonly [id: string, kinds: readonly Kind[]]> = [
  ['add-file', ['image', 'video', 'audio']],
  ['add-camera', ['image']],
  ['add-sound', ['audio']],
];
const NAMES: Record<Kind, string> = { image: 'Picture', video: 'Video', audio: 'Sound' };

let attachments: Attachment[] = [];

/** The parts of the prompt that stand before its words, in order. */
export function attached(): PromptPart[] {
  return attachments.map(({ kind, file }) => ({ [kind]: file }) as unknown as PromptPart);
}

/** Whether the loaded model reads this; it may, while none is loaded. */
export function canRead(...kinds: readonly Kind[]): boolean {
  const { model } = state();
  return model.kind !== 'ready' || kinds.some((kind) => model.model.modalities.includes(kind));
}

/** What the model can't, in words; nothing where it reads everything. */
function lacking(subject: string): string {
  if (!canRead('image', 'video', 'audio')) return `${subject} reads text only`;
  if (!canRead('audio')) return `${subject} hears no sounds`;
  return canRead('image', 'video') ? '' : `${subject} sees no pictures`;
}

/** Says why something was not taken. */
export function refuse(): void {
  const { model } = state();
  const name = model.kind === 'ready' ? `“${model.model.name}”` : 'This model';
  inform(`${lacking(name)}.`, 'Describe it in words, or open a model that can.');
}

/** Adds files to the prompt, those that the model reads. */
export async function attach(files: readonly Blob[]): Promise<void> {
  let refused = false;
  for (const file of files) {
    const kind = await kindOf(file);
    if (kind === undefined) inform('That file could not be read.', 'Try a PNG, JPEG, MP4, WebM, WAV or MP3.');
    else if (canRead(kind)) attachments.push({ kind, file });
    else refused = true;
  }
  if (refused) refuse();
  render();
  if (!refused) announce(`${attachments.length} in the prompt`);
}

/** By its type; pictures that move are videos for a model that sees those, and broken ones are none. */
async function kindOf(file: Blob): Promise<Kind | undefined> {
  if (/^(video|audio)\//.test(file.type)) return file.type.slice(0, 5) as Kind;
  if (!canRead('image')) return 'image';
  try {
    (await createImageBitmap(file)).close();
  } catch {
    return undefined;
  }
  return file.type === 'image/gif' && (await moves(file)) && canRead('video') ? 'video' : 'image';
}

async function moves(gif: Blob): Promise<boolean> {
  if (typeof ImageDecoder === 'undefined') return false;
  const decoder = new ImageDecoder({ data: await gif.arrayBuffer(), type: gif.type });
  await decoder.tracks.ready;
  const { frameCount = 1 } = decoder.tracks.selectedTrack ?? {};
  decoder.close();
  return frameCount > 1;
}

function remove(index: number): void {
  attachments = attachments.filter((_, at) => at !== index);
  render();
  const buttons = chips.querySelectorAll<HTMLButtonElement>('.remove');
  (buttons[Math.min(index, buttons.length - 1)] ?? byId('add-file', HTMLButtonElement)).focus();
}

/** What a chip shows, called by its kind and place. */
function contents({ kind, file }: Attachment, name: string): HTMLElement {
  if (kind === 'image') return make('img', { src: urlOf(file), alt: name });
  if (kind === 'audio') return player(file, name);
  if (file.type === 'image/gif') return make('img', { src: urlOf(file), alt: name });
  const video = make('video', { src: urlOf(file), 'aria-label': name, preload: 'metadata', playsinline: true });
  video.muted = true;
  return video;
}

/** A button that plays a sound, and its length as soon as that is known. */
function player(file: Blob, name: string): HTMLElement {
  const sound = new Audio(urlOf(file));
  const length = make('span', {}, file instanceof File ? file.name : 'Recording');
  const button = make('button', { type: 'button', class: 'quiet sound', 'aria-label': `Play: ${name}`, title: 'Play' }, icon('sound'), length);
  button.addEventListener('click', () => {
    if (!sound.paused) return sound.pause();
    sound.currentTime = 0;
    void sound.play().catch(() => undefined);
  });
  return button;
}

function render(): void {
  chips.hidden = attachments.length === 0;
  chips.replaceChildren(
    ...attachments.map((attachment, index) => {
      const name = `${NAMES[attachment.kind]} ${index + 1}`;
      const button = iconButton('close', `Remove ${name.toLowerCase()}`, { class: 'quiet icon-only remove' });
      button.addEventListener('click', () => remove(index));
      return make('li', {}, contents(attachment, name), button);
    }),
  );
}

function heedModel(): void {
  for (const [id, kinds] of BUTTONS) {
    const button = byId(id, HTMLButtonElement);
    const able = canRead(...kinds);
    button.setAttribute('aria-disabled', String(!able));
    if (able) button.removeAttribute('aria-describedby');
    else button.setAttribute('aria-describedby', 'reads');
  }
  reads.textContent = lacking('This model');
  const readable = attachments.filter(({ kind }) => canRead(kind));
  if (readable.length === attachments.length) return;
  attachments = readable;
  render();
  refuse();
}

export function startAttach(): void {
  const file = byId('file', HTMLInputElement);
  const add = byId('add-file', HTMLButtonElement);
  add.addEventListener('click', () => (canRead('image', 'video', 'audio') ? file.click() : refuse()));
  file.addEventListener('change', () => {
    void attach([...(file.files ?? [])]);
    file.value = '';
  });
  watch((now) => now.model.kind, heedModel);
}
