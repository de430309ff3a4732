/**
 * Converts sources of inputs that only a page has (elements, canvases, addresses, responses) to files and pixels, which
 * can be sent to the host.
 *
 * Not here: decoding, which follows in `pictures.ts`, `videos.ts` and `sounds.ts`.
 *
 * @module
 */

import { X2iError } from './errors.js';
import { absolute } from './here.js';
import type { FileSource, ImageSource, Modality } from './types.js';

/** A kind of input, which is also the code of its errors. */
export type Kind = Exclude<Modality, 'text'>;

/** An image that the host can read. */
export type SentImage = Blob | ImageBitmap | ImageData;

/** The image as the host reads it; `fresh` if it was made here, so that it can be transferred. */
export async function sendableImage(
  source: ImageSource,
  name: string,
  signal?: AbortSignal,
): Promise<{ image: SentImage; fresh: boolean }> {
  const file = await fileOf(source, 'image', name, signal);
  if (file) return { image: file, fresh: false };
  if (is(source, 'ImageBitmap') || is(source, 'ImageData')) return { image: source as SentImage, fresh: false };
  if (is(source, 'HTMLImageElement')) await decoded(source as HTMLImageElement, name);
  if (DRAWABLE.some((type) => is(source, type))) return { image: await snapshot(source, name), fresh: true };
  const forms = 'a file, an address, a Response, bytes, an element, a canvas, a frame or pixels';
  throw new X2iError('request', `${name} must be ${forms}`);
}

/** Types that a canvas can draw. */
const DRAWABLE = [
  'HTMLImageElement',
  'SVGImageElement',
  'HTMLCanvasElement',
  'OffscreenCanvas',
  'VideoFrame',
  'HTMLVideoElement',
];

/** The file of a source that is one; undefined for other sources. */
export async function fileOf(
  source: unknown,
  kind: Kind,
  name: string,
  signal?: AbortSignal,
): Promise<Blob | undefined> {
  if (source instanceof Blob) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source))
    return new Blob([source as BufferSource as BlobPart]);
  if (is(source, 'Response')) return bodyOf(source as Response, kind, name);
  if (typeof source === 'string' || source instanceof URL) return download(source, kind, name, signal);
  return undefined;
}

/** The file of a video or sound, also of an element that plays one. */
export async function mediaOf(
  source: unknown,
  kind: Kind,
  name: string,
  signal?: AbortSignal,
): Promise<Blob | undefined> {
  if (!is(source, 'HTMLMediaElement')) return fileOf(source as FileSource, kind, name, signal);
  const { currentSrc, src } = source as HTMLMediaElement;
  if (currentSrc || src) return download(currentSrc || src, kind, name, signal);
  throw new X2iError(kind, `${name}: the element plays no file; give a file, or its frames`);
}

async function download(source: string | URL, kind: Kind, name: string, signal?: AbortSignal): Promise<Blob> {
  let url: string;
  try {
    url = absolute(source);
  } catch (cause) {
    throw new X2iError('request', `${name}: ${source} is not a URL`, { cause });
  }
  let response: Response;
  try {
    response = await fetch(url, signal ? { signal } : {});
  } catch (cause) {
    if (signal?.aborted) throw cause;
    const why = 'its server does not answer, or on another origin sends no Access-Control-Allow-Origin';
    throw new X2iError(kind, `${name}: ${shortened(url)} can't be fetched: ${why}`, { cause });
  }
  return bodyOf(response, kind, name, url);
}

async function bodyOf(response: Response, kind: Kind, name: string, asked = response.url): Promise<Blob> {
  if (!response.ok) throw new X2iError(kind, `${name}: ${shortened(asked)} answers ${response.status}`);
  try {
    const blob = await response.blob();
    const file = nameIn(response.url || asked);
    return file ? new File([blob], file, { type: blob.type }) : blob;
  } catch (cause) {
    throw new X2iError(kind, `${name}: ${shortened(asked)} can't be read: ${cause}`, { cause });
  }
}

/** The file's name in a URL, for the metadata. */
function nameIn(url: string): string | undefined {
  if (!/^https?:/.test(url)) return undefined;
  const last = new URL(url).pathname.split('/').pop();
  try {
    return last && decodeURIComponent(last);
  } catch {
    return last;
  }
}

async function decoded(element: HTMLImageElement, name: string): Promise<void> {
  try {
    await element.decode();
  } catch (cause) {
    throw new X2iError('image', `${name}: the element shows no image that can be decoded`, { cause });
  }
}

/** The pixels of what an element shows now. */
async function snapshot(source: unknown, name: string): Promise<ImageBitmap> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(source as ImageBitmapSource, {
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
    });
  } catch (cause) {
    throw new X2iError('image', `${name}: the element shows nothing that can be read: ${cause}`, { cause });
  }
  if (isReadable(bitmap)) return bitmap;
  bitmap.close();
  const remedy = 'set its attribute crossorigin, and let the server send Access-Control-Allow-Origin';
  throw new X2iError('image', `${name}: the element shows an image of another origin; ${remedy}`);
}

/** False for pixels of another origin, which a page may show and not read. */
function isReadable(bitmap: ImageBitmap): boolean {
  const context = new OffscreenCanvas(1, 1).getContext('2d');
  context?.drawImage(bitmap, 0, 0);
  try {
    context?.getImageData(0, 0, 1, 1);
    return true;
  } catch {
    return false;
  }
}

/** `instanceof` of a class that this place may not have. */
function is(value: unknown, type: string): boolean {
  const named = (globalThis as Record<string, unknown>)[type];
  return typeof named === 'function' && value instanceof named;
}

/** Addresses of data are long. */
function shortened(url: string): string {
  return url.length > 200 ? `${url.slice(0, 200)}…` : url;
}
