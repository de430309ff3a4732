/**
 * Converts sent inputs for the module: images and frames to pixels, and every file to its name and SHA-256.
 *
 * It runs on the host's side, usually in the worker, since decoding a photo would block the page.
 *
 * @module
 */

import type { InputAudio, InputVideo, LoadOptions, WasmPart, WasmRequest } from './contract.js';
import { toX2iError, X2iError } from './errors.js';
import type { SentAudio, SentModel, SentPart, SentRequest, SentVideo } from './messages.js';
import { fileFacts, readImage, readPixels, sha256Of } from './pictures.js';

/** The request with all its inputs as numbers. */
export async function readRequest({ prompt, turns, init, control, settings }: SentRequest): Promise<WasmRequest> {
  const earlier: WasmRequest['turns'] = [];
  for (const turn of turns) earlier.push({ prompt: await readParts(turn.prompt), answer: turn.answer });
  return {
    ...settings,
    prompt: await readParts(prompt),
    turns: earlier,
    ...(init && { init: { ...init, image: await readImage(init.image, 'init') } }),
    ...(control && { control: { ...control, image: await readImage(control.image, 'control') } }),
  };
}

/** The adapters, each with its record for the metadata. */
export async function readWeights({ cache, maxDeviceMemory, loras, control }: SentModel): Promise<LoadOptions> {
  const read = async (data: Blob, nameless: string) => ({
    ...(await reading('format', nameless, fileFacts(data, nameless))),
    data,
  });
  return {
    cache,
    ...(maxDeviceMemory !== undefined && { maxDeviceMemory }),
    loras: await Promise.all(
      loras.map(async ({ data, config, scale }, at) => ({
        ...(await read(data, `lora-${at + 1}`)),
        ...(config && { config: await read(config, `lora-${at + 1}-config`) }),
        scale,
      })),
    ),
    ...(control && { control: await read(control, 'control-weights') }),
  };
}

async function readParts(parts: SentPart[]): Promise<WasmPart[]> {
  const read: WasmPart[] = [];
  for (const [index, part] of parts.entries()) {
    const nameless = (kind: string): string => `${kind}-${index + 1}`;
    if ('text' in part) read.push(part);
    else if ('image' in part) read.push({ image: await readImage(part.image, nameless('image')) });
    else if ('video' in part) read.push({ video: await readVideo(part.video, nameless('video')) });
    else read.push({ audio: await readAudio(part.audio, nameless('audio')) });
  }
  return read;
}

async function readVideo({ file, frames, fps }: SentVideo, nameless: string): Promise<InputVideo> {
  const pixels: InputVideo['frames'] = [];
  for (const [index, frame] of frames.entries()) {
    pixels.push(await reading('video', `${nameless}, frame ${index + 1}`, readPixels(frame)));
  }
  const facts = file
    ? await reading('video', nameless, fileFacts(file, nameless))
    : { name: nameless, sha256: await sha256OfFrames(pixels) };
  return { ...facts, frames: pixels, ...(fps !== undefined && { fps }) };
}

/** The hash of the hashes of all frames. */
async function sha256OfFrames(frames: InputVideo['frames']): Promise<string> {
  const hashes = await Promise.all(frames.map(({ pixels }) => sha256Of(pixels)));
  return sha256Of(new TextEncoder().encode(hashes.join('')));
}

async function readAudio({ file, samples, sampleRate }: SentAudio, nameless: string): Promise<InputAudio> {
  const facts = file
    ? await reading('audio', nameless, fileFacts(file, nameless))
    : { name: nameless, sha256: await sha256Of(samples.slice()) };
  return { ...facts, samples, sampleRate };
}

/** Converts an error of reading: a file that the browser can't read is the caller's error, not a bug. */
async function reading<T>(code: 'audio' | 'format' | 'video', name: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    const error = toX2iError(thrown);
    throw error.code === 'internal' ? new X2iError(code, `${name} can't be read: ${error.message}`) : error;
  }
}
