/**
 * Converts a caller's options to messages for the host: decodes videos and audio, and wraps weights in blobs.
 *
 * It runs on the caller's side, which has the decoders. Not here: images, which the host decodes.
 *
 * @module
 */

import type { WasmSettings } from './contract.js';
import { X2iError } from './errors.js';
import type { SentModel, SentPart, SentRequest } from './messages.js';
import { readSound } from './sounds.js';
import type { GenerateOptions, PipelineOptions, PromptPart, VideoFrames, VideoSource, WeightData } from './types.js';
import { type ChooseFrames, readVideo } from './videos.js';

/** The default strength of an initial image, as in diffusers and the native program. */
const STRENGTH = 0.6;

/** The settings of a call, with the checks that types can't express. */
export function readSettings(options: GenerateOptions): WasmSettings {
  const { preview, width, height, steps, guidance, cache, conditioning, videoFps, background } = options;
  const given = Object.entries({ width, height, steps, guidance, cache, conditioning, videoFps, background }).filter(
    ([, value]) => value !== undefined,
  );
  return { ...Object.fromEntries(given), seed: readSeed(options.seed), preview: preview ?? true };
}

function readSeed(seed: number | bigint | undefined): number | bigint {
  // 32 bits: enough to differ, short enough to type again.
  if (seed === undefined) return crypto.getRandomValues(new Uint32Array(1))[0] as number;
  const whole = typeof seed === 'bigint' || Number.isSafeInteger(seed);
  if (whole && seed >= 0 && seed < 2n ** 64n) return seed;
  throw new X2iError('request', `seed ${seed} must be a whole number from 0 to 2^64 - 1, above 2^53 as a bigint`);
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
    ...(init && { init: { image: init.image, strength: init.strength ?? STRENGTH } }),
    ...(control && { control: { image: control.image, scale: control.scale ?? 1 } }),
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

  async #part(part: PromptPart): Promise<SentPart> {
    if (typeof part === 'string') return { text: part };
    if ('video' in part) return { video: await this.#video(part.video) };
    if ('text' in part || 'image' in part) return part;
    if (!('audio' in part)) {
      throw new X2iError('request', `part ${this.#count} of the prompt is neither text, image, video nor audio`);
    }
    const source = part.audio;
    const sound = await readSound(source, this.#nameOf(source, 'sound'));
    this.transfer.push(sound.samples.buffer as ArrayBuffer);
    return { audio: { ...sound, ...(source instanceof Blob && { file: source }) } };
  }

  async #video(source: VideoSource): Promise<VideoFrames & { file?: Blob }> {
    if (!(source instanceof Blob)) return source;
    const film = await readVideo(source, this.#nameOf(source, 'video'), this.#choose, this.#signal);
    this.transfer.push(...film.frames);
    return { ...film, file: source };
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
  return data instanceof Blob ? data : new Blob([data]);
}
