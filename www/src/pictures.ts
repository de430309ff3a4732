/**
 * Converts images: inputs to RGBA with their SHA-256, and generated pixels to the form that the caller wants.
 *
 * Reading runs on the host's side, usually in the worker, since decoding a photo would block the page. Not here: PNG
 * files, which the WebAssembly module writes with their metadata.
 *
 * @module
 */

import type { InputFile, InputImage, Pixels } from './contract.js';
import { toX2iError, X2iError } from './errors.js';
import type { Painted } from './messages.js';
import type { SentImage } from './sources.js';
import type { Output, Painting } from './types.js';

/** An input image, with its record for the metadata. */
export async function readImage(source: SentImage, nameless: string): Promise<InputImage> {
  try {
    if (source instanceof Blob) return { ...(await fileFacts(source, nameless)), ...(await decode(source)) };
    const pixels = pixelsOf(source);
    return { name: nameless, sha256: await sha256Of(pixels.pixels), ...pixels };
  } catch (thrown) {
    const error = toX2iError(thrown);
    if (error.code !== 'internal') throw error;
    throw new X2iError('image', `${nameOf(source, nameless)} can't be read: ${error.message}`);
  }
}

/** The pixels of an image, without the hash. */
export async function readPixels(source: SentImage): Promise<Pixels> {
  return source instanceof Blob ? decode(source) : pixelsOf(source);
}

function pixelsOf(source: ImageBitmap | ImageData): Pixels {
  return 'data' in source ? fromImageData(source) : draw(source);
}

/** The name of a file and the hash of its bytes, as in the native program. */
export async function fileFacts(file: Blob, nameless: string): Promise<InputFile> {
  return { name: nameOf(file, nameless), sha256: await sha256Of(await file.arrayBuffer()) };
}

function nameOf(source: unknown, nameless: string): string {
  return source instanceof File ? source.name : nameless;
}

/** Rotated as EXIF says and without color management, as in the native program. */
async function decode(file: Blob): Promise<Pixels> {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: 'from-image',
    colorSpaceConversion: 'none',
    premultiplyAlpha: 'none',
  });
  try {
    return draw(bitmap);
  } finally {
    bitmap.close();
  }
}

function draw(bitmap: ImageBitmap): Pixels {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new X2iError('image', 'the browser gives no 2d canvas to read pictures with');
  context.drawImage(bitmap, 0, 0);
  return fromImageData(context.getImageData(0, 0, width, height));
}

function fromImageData({ width, height, data }: ImageData): Pixels {
  // The type also allows half floats, which a canvas has only on request.
  return { width, height, pixels: data as Uint8ClampedArray<ArrayBuffer> };
}

export async function sha256Of(bytes: BufferSource): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    throw new X2iError('image', 'pictures, videos and sounds need a secure context: https, or localhost');
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Pixels as `ImageData`, without a copy. */
export function toImageData({ pixels, width, height }: Pixels): ImageData {
  return new ImageData(pixels, width, height);
}

/** The result in the form of the option `output`. */
export async function toPainting<O extends Output>(painted: Painted, output: O): Promise<Painting<O>> {
  const { width, height, metadata, answer, certainty, unknown, alternatives, timings } = painted;
  const png = new Blob([painted.png], { type: 'image/png' });
  const forms: Record<Output, () => unknown> = {
    bitmap: () => createImageBitmap(toImageData(painted)),
    blob: () => png,
    pixels: () => painted.pixels,
  };
  return {
    image: (await forms[output]()) as Painting<O>['image'],
    width,
    height,
    png,
    metadata,
    seed: BigInt(metadata.seed),
    ...(answer !== undefined && { answer }),
    ...(certainty !== undefined && { certainty }),
    ...(unknown !== undefined && { unknown }),
    ...(alternatives && { alternatives }),
    timings,
  };
}
