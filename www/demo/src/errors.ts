/**
 * What went wrong, as a sentence, and what to do about it. The codes are those of `X2iError`;
 * the library's own message, which names files and limits, is kept where it helps.
 */

import { X2iError, type X2iErrorCode } from '@x2i/web';
import type { Notice } from './state';

interface Sentence {
  text: string;
  advice: string;
  /** Whether the library's message says more (a file, a limit). */
  detail?: true;
}

const SENTENCES: Record<Exclude<X2iErrorCode, 'aborted'>, Sentence> = {
  'device-unavailable': { text: 'This browser offers no such device.', advice: 'Choose Automatic or CPU under Device; the picture is the same.', detail: true },
  'device-lost': { text: 'The graphics device was lost.', advice: 'Paint again: the model is loaded anew from the cache. If it happens often, choose CPU.' },
  'device-limit': { text: 'This graphics device is too small for the model.', advice: 'Choose CPU under Device, or a smaller size.', detail: true },
  'cache-unavailable': { text: 'The stored model is in use, or cannot be read.', advice: 'Stop its download, or close other tabs with this page, and try again.', detail: true },
  network: { text: 'The model could not be downloaded.', advice: 'Check the connection and try again; what has arrived is kept.', detail: true },
  integrity: { text: 'A file of the model arrived damaged and was refused.', advice: 'Try again. If it repeats, the server holds a damaged file.', detail: true },
  'missing-file': { text: 'The model is incomplete.', advice: 'Check the address of the model folder.', detail: true },
  'missing-tensor': { text: 'The model is incomplete.', advice: 'The files may belong to different versions of the model.', detail: true },
  shape: { text: 'The parts of the model do not fit together.', advice: 'The files may belong to different versions of the model.', detail: true },
  format: { text: 'A file of the model could not be read.', advice: 'Check that it is a model folder made by x2i convert.', detail: true },
  config: { text: 'The model’s description could not be read.', advice: 'Check its model.json.', detail: true },
  request: { text: 'This picture cannot be asked for.', advice: 'Change the prompt, the size or the steps.', detail: true },
  modality: { text: 'The model cannot read this prompt.', advice: 'Say it in words, or open a model that reads it.', detail: true },
  image: { text: 'The picture could not be read.', advice: 'Try a PNG, JPEG or WebP.', detail: true },
  video: { text: 'The video could not be read.', advice: 'Try an MP4 or WebM.', detail: true },
  audio: { text: 'The sound could not be read.', advice: 'Try a WAV or MP3.', detail: true },
  lora: { text: 'The LoRA does not fit the model.', advice: 'It was made for another transformer.', detail: true },
  quota: { text: 'There is no room left on this device.', advice: 'Delete pictures or stored models below, then try again.' },
  closed: { text: 'The model was closed.', advice: 'Reload the page.' },
  internal: { text: 'Something broke inside the model.', advice: 'Paint again: it starts afresh. If it repeats, please report it.', detail: true },
};

/** What is another thing on the page of `x2i serve`, where the model is elsewhere. */
const ON_SERVER: Partial<typeof SENTENCES> = {
  network: { text: 'The server does not answer.', advice: 'Is it still running?' },
  'device-unavailable': { text: 'The server can’t paint now.', advice: 'Try again in a moment.', detail: true },
  modality: { text: 'The model cannot read this prompt.', advice: 'Say it in words.', detail: true },
  internal: { text: 'Something broke on the server.', advice: 'Paint again. If it repeats, its log says more.', detail: true },
};

const UNKNOWN: Sentence = { text: 'Something went wrong.', advice: 'Reload the page and try again.', detail: true };

/** Whether nobody answered. */
export function isUnreached(error: unknown): boolean {
  return error instanceof X2iError && error.code === 'network';
}

/** Whether the visitor stopped it. */
export function isAbort(error: unknown): boolean {
  return error instanceof X2iError && error.code === 'aborted';
}

function sentenceOf(code: Exclude<X2iErrorCode, 'aborted'>): Sentence {
  return (import.meta.env.MODE === 'server' ? ON_SERVER[code] : undefined) ?? SENTENCES[code];
}

/** The sentences for an error. */
export function explain(error: unknown): Notice {
  const sentence = error instanceof X2iError && error.code !== 'aborted' ? sentenceOf(error.code) : UNKNOWN;
  const detail = sentence.detail && error instanceof Error && error.message ? ` (${error.message})` : '';
  return { tone: 'error', text: `${sentence.text}${detail}`, advice: sentence.advice };
}
