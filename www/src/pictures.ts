/**
 * Pictures in and out: a prompt's pictures to RGBA with their SHA-256, and painted pixels to what the caller wants.
 *
 * Reading runs where the host is, so in the worker, since decoding a photograph takes longer than a frame. PNG files
 * are written by the WebAssembly module, with their metadata; none are here.
 *
 * @module
 */

import type { Pixels, PromptImage, WasmRequest } from './contract.js';
import { toX2iError, X2iError } from './errors.js';
import type { Painted, SentPart } from './messages.js';
import type { ImageSource, Output, Painting } from './types.js';

/** The parts with their pictures as pixels. */
export function readPrompt(parts: SentPart[]): Promise<WasmRequest['prompt']> {
  return Promise.all(
    parts.map(async (part, index) => ('text' in part ? part : { image: await readImage(part.image, index) })),
  );
}

/** The hash is of the file's bytes, as natively; pictures that never were files are hashed by their pixels. */
async function readImage(source: ImageSource, index: number): Promise<PromptImage> {
  const nameless = `image-${index + 1}`;
  try {
    if (source instanceof Blob) {
      const sha256 = await sha256Of(await source.arrayBuffer());
      const name = source instanceof File ? source.name : nameless;
      return { name, sha256, ...(await decode(source)) };
    }
    const pixels = source instanceof ImageData ? fromImageData(source) : draw(source);
    return { name: nameless, sha256: await sha256Of(pixels.pixels), ...pixels };
  } catch (thrown) {
    const error = toX2iError(thrown);
    if (error.code !== 'internal') throw error;
    throw new X2iError('image', `picture ${index + 1} of the prompt can't be read: ${error.message}`);
  }
}

/** Turned as its EXIF says, and without colour management, which is how the native program reads it. */
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
  // Canvases also come in half floats, which nobody draws on by default.
  return { width, height, pixels: data as Uint8ClampedArray<ArrayBuffer> };
}

async function sha256Of(bytes: BufferSource): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    throw new X2iError('image', 'pictures in a prompt need a secure context: https, or localhost');
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Pixels as the page's own kind of picture, without a copy. */
export function toImageData({ pixels, width, height }: Pixels): ImageData {
  return new ImageData(pixels, width, height);
}

/** The result in the form that was asked for. */
export async function toPainting<O extends Output>(painted: Painted, output: O): Promise<Painting<O>> {
  const { width, height, metadata, answer, timings } = painted;
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
    timings,
  };
}
