/**
 * Converts a caller's options to messages for the host: decodes videos and audio, and wraps weights in blobs.
 *
 * It runs on the caller's side, which has the decoders and the elements. Not here: files of images, which the host decodes.
 *
 * @module
 */

import type { WasmSettings } from './contract.js';
import { X2iError } from './errors.js';
import type { SentAudio, SentModel, SentPart, SentRequest, SentVideo } from './messages.js';
import { readSound } from './sounds.js';
import { mediaOf, type SentImage, sendableImage } from './sources.js';
import type {
  AudioSamples,
  AudioSource,
  GenerateOptions,
  ImageSource,
  PipelineOptions,
  PromptPart,
  VideoFrames,
  VideoSource,
  WeightData,
} from './types.js';
import { type ChooseFrames, readVideo } from './videos.js';

/** The default strength of an initial image, as in diffusers and the native program. */
const STRENGTH = 0.6;

/** The settings of a call, with the checks that types can't express. */
export function readSettings(options: GenerateOptions): WasmSettings {
  const { preview, width, height, steps, guidance, cache, conditioning, videoFps, background } = options;
  const given = Object.entries({ width, height, steps, guidance, cache, conditioning, videoFps, background }).filter(
    ([, value]) => value !== undefined,
  );
  return { ...Object.fromEntries(given), seed: readSeed(options), preview: preview ?? true };
}

function readSeed({ seed, numImages = 1 }: GenerateOptions): number | bigint {
  // 32 bits: enough to differ, short enough to type again.
  if (seed === undefined) return crypto.getRandomValues(new Uint32Array(1))[0] as number;
  const whole = typeof seed === 'bigint' || Number.isSafeInteger(seed);
  if (!whole || seed < 0 || seed >= 2n ** 64n) {
    throw new X2iError('request', `seed ${seed} must be a whole number from 0 to 2^64 - 1, above 2^53 as a bigint`);
  }
  if (BigInt(seed) + BigInt(numImages) > 2n ** 64n) {
    throw new X2iError('request', `seed ${seed} leaves no seeds for ${numImages} images below 2^64`);
  }
  return seed;
}

/** The seed of the image `index` of a call. */
export function seedOf({ seed }: WasmSettings, index: number): number | bigint {
  const next = BigInt(seed) + BigInt(index);
  return next <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(next) : next;
}

/** The parts to send, and the objects made here, which can be transferred. */
export async function prepare(
  options: GenerateOptions,
  settings: WasmSettings,
  choose: ChooseFrames,
): Promise<{ request: SentRequest; transfer: Transferable[] }> {
  const { prompt, turns = [], init, control, signal } = options;
  const reader = new Reader(choose, signal);
  const earlier: SentRequest['turns'] = [];
  for (const turn of turns) earlier.push({ prompt: await reader.read(turn.prompt), answer: turn.answer });
  const request = {
    prompt: await reader.read(prompt),
    turns: earlier,
    ...(init && { init: { image: await reader.image(init.image, 'init.image'), strength: init.strength ?? STRENGTH } }),
    ...(control && {
      control: { image: await reader.image(control.image, 'control.image'), scale: control.scale ?? 1 },
    }),
    settings,
  };
  return { request, transfer: reader.transfer };
}

/** Reads parts one after another, since each may take much memory. */
class Reader {
  readonly transfer: Transferable[] = [];
  readonly #choose: ChooseFrames;
  readonly #signal: AbortSignal | undefined;
  #count = 0;

  constructor(choose: ChooseFrames, signal: AbortSignal | undefined) {
    this.#choose = choose;
    this.#signal = signal;
  }

  async read(prompt: string | PromptPart[]): Promise<SentPart[]> {
    const parts: SentPart[] = [];
    for (const part of typeof prompt === 'string' ? [prompt] : prompt) {
      this.#count++;
      parts.push(await this.#part(part));
    }
    return parts;
  }

  /** An image as the host reads it; `name` is for messages. */
  async image(source: ImageSource, name: string): Promise<SentImage> {
    const { image, fresh } = await sendableImage(source, name, this.#signal);
    if (fresh) this.transfer.push(image as ImageBitmap);
    return image;
  }

  async #part(part: PromptPart): Promise<SentPart> {
    if (typeof part === 'string') return { text: part };
    if ('video' in part) return { video: await this.#video(part.video) };
    if ('image' in part) return { image: await this.image(part.image, this.#nameOf(part.image, 'image')) };
    if ('audio' in part) return { audio: await this.#audio(part.audio) };
    return { text: part.text };
  }

  async #audio(source: AudioSource): Promise<SentAudio> {
    const name = this.#nameOf(source, 'sound');
    const file = await mediaOf(source, 'audio', name, this.#signal);
    const sound = await readSound(file ?? (source as AudioBuffer | AudioSamples), name);
    this.transfer.push(sound.samples.buffer as ArrayBuffer);
    return { ...sound, ...(file && { file }) };
  }

  async #video(source: VideoSource): Promise<SentVideo> {
    const name = this.#nameOf(source, 'video');
    const file = await mediaOf(source, 'video', name, this.#signal);
    if (!file) return this.#frames(source as VideoFrames, name);
    const film = await readVideo(file, name, this.#choose, this.#signal);
    this.transfer.push(...film.frames);
    return { ...film, file };
  }

  async #frames({ frames, fps }: VideoFrames, name: string): Promise<SentVideo> {
    if (!Array.isArray(frames)) {
      throw new X2iError('request', `${name} must be a file, an address, an element, or { frames, fps }`);
    }
    const sent: SentImage[] = [];
    for (const [index, frame] of frames.entries()) sent.push(await this.image(frame, `${name}, frame ${index + 1}`));
    return { frames: sent, ...(fps !== undefined && { fps }) };
  }

  #nameOf(source: unknown, kind: string): string {
    return typeof File !== 'undefined' && source instanceof File ? source.name : `${kind} ${this.#count} of the prompt`;
  }
}

/** The adapters. */
export function readWeights({ loras = [], controlWeights }: PipelineOptions): Pick<SentModel, 'loras' | 'control'> {
  return {
    loras: loras.map(({ data, config, scale = 1 }) => ({
      data: blobOf(data),
      ...(config && { config: blobOf(config) }),
      scale,
    })),
    ...(controlWeights && { control: blobOf(controlWeights) }),
  };
}

function blobOf(data: WeightData): Blob {
  return data instanceof Blob ? data : new Blob([data as BlobPart]);
}
