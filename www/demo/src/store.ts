/**
 * Pictures on this device, in IndexedDB: the PNG as it was made, a small one for the gallery, and what made it.
 * Where IndexedDB is missing or full, the caller keeps the picture for this visit only and says so.
 */

import type { Painting } from '@x2i/web';
import type { Confidence } from './understood';
import type { Work } from './work';

/** A finished picture, as the gallery keeps it. */
export interface Picture {
  /** Unique; negative for a picture that could not be stored. */
  id: number;
  /** When, in milliseconds since 1970. */
  made: number;
  png: Blob;
  /** At most `THUMBNAIL` pixels a side; the PNG itself where that is no larger. */
  thumbnail: Blob;
  text: string;
  lang: string;
  width: number;
  height: number;
  seed: bigint;
  steps: number;
  /** The name of the device that painted it. */
  device: string;
  model: string;
  timings: Painting['timings'];
  answer?: string;
  /** How sure the model was of its answer; absent where it did not say. */
  confidence?: Confidence;
  /** What was counted while it was painted; absent in pictures of older versions of the page. */
  work?: Work;
  /** Whether words alone were asked for. */
  isOfWords?: boolean;
}

const DATABASE = 'x2i-demo';
const PICTURES = 'pictures';
const THUMBNAIL = 256;

let opened: Promise<IDBDatabase> | undefined;

function open(): Promise<IDBDatabase> {
  opened ??= new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(PICTURES, { keyPath: 'id', autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('the gallery could not be opened'));
  });
  return opened;
}

/** One transaction with one request; settled when it is on disk, so that a quota error is heard. */
async function run<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await open();
  return new Promise<T>((resolve, reject) => {
    const transaction = database.transaction(PICTURES, mode);
    const request = work(transaction.objectStore(PICTURES));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? request.error ?? new Error('the gallery did not answer'));
  });
}

/** All pictures, the newest first. */
export async function allPictures(): Promise<Picture[]> {
  const pictures = await run<Picture[]>('readonly', (store) => store.getAll() as IDBRequest<Picture[]>);
  return pictures.reverse();
}

/** Stores a picture and gives it its id. */
export async function addPicture(picture: Omit<Picture, 'id'>): Promise<Picture> {
  const id = await run('readwrite', (store) => store.add(picture));
  return { ...picture, id: Number(id) };
}

export async function deletePicture(id: number): Promise<void> {
  await run('readwrite', (store) => store.delete(id));
}

export async function deleteAllPictures(): Promise<void> {
  await run('readwrite', (store) => store.clear());
}

/** A small PNG of a picture. */
export async function thumbnailOf(png: Blob, width: number, height: number): Promise<Blob> {
  if (Math.max(width, height) <= THUMBNAIL) return png;
  const scale = THUMBNAIL / Math.max(width, height);
  const options = { resizeWidth: Math.round(width * scale), resizeHeight: Math.round(height * scale), resizeQuality: 'high' } as const;
  const bitmap = await createImageBitmap(png, options);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext('bitmaprenderer')?.transferFromImageBitmap(bitmap);
  return canvas.convertToBlob();
}

const urls = new WeakMap<Blob, string>();

/** An address for a blob, the same one each time. */
export function urlOf(blob: Blob): string {
  let url = urls.get(blob);
  if (url === undefined) urls.set(blob, (url = URL.createObjectURL(blob)));
  return url;
}

/** Frees the addresses of a picture that is gone. */
export function releasePicture(picture: Picture): void {
  for (const blob of new Set([picture.png, picture.thumbnail])) {
    const url = urls.get(blob);
    if (url !== undefined) URL.revokeObjectURL(url);
    urls.delete(blob);
  }
}
