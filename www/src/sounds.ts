/**
 * Converts audio in any form to one channel of samples. The module resamples them to 16 kHz, like the native program.
 *
 * The browser decodes off the page's thread. Only pages can start it: workers have no `OfflineAudioContext`.
 *
 * @module
 */

import { X2iError } from './errors.js';
import { sampleRateOf } from './rates.js';
import type { AudioSamples } from './types.js';

/** The longest audio in seconds, as in the native program: its tokens fill the longest context of a model. */
const MAX_SECONDS = 1310;
/** The largest file in bytes: decoders need all of it in memory. */
const MAX_BYTES = 512 * 2 ** 20;
/** The sample rates that every browser supports. */
const [LEAST_RATE, MOST_RATE] = [8000, 96_000];
/** The rate for files whose rate is not found: that of recordings and of most videos. */
const USUAL_RATE = 48_000;

/** The samples in a new array; `name` is for messages. */
export async function readSound(source: Blob | AudioBuffer | AudioSamples, name: string): Promise<AudioSamples> {
  if (!(source instanceof Blob)) checkSamples(source, name);
  const sound = source instanceof Blob ? await decode(source, name) : mixed(source);
  const seconds = sound.samples.length / sound.sampleRate;
  if (seconds > MAX_SECONDS) {
    const reason = `has ${Math.round(seconds)} seconds; a model reads at most ${MAX_SECONDS}: cut it`;
    throw new X2iError('audio', `${name}: ${reason}`);
  }
  return sound;
}

function checkSamples(source: unknown, name: string): void {
  const { samples, sampleRate, getChannelData } = (source ?? {}) as Partial<AudioSamples & AudioBuffer>;
  const known = samples instanceof Float32Array || typeof getChannelData === 'function';
  if (known && Number.isFinite(sampleRate) && (sampleRate as number) > 0) return;
  const forms = 'a file, an address, an element, an AudioBuffer, or { samples: Float32Array, sampleRate }';
  throw new X2iError('request', `${name} must be ${forms}`);
}

/** The mean of all channels. */
function mixed(source: AudioBuffer | AudioSamples): AudioSamples {
  const { sampleRate } = source;
  if ('samples' in source) return { samples: source.samples.slice(), sampleRate };
  const { length, numberOfChannels } = source;
  const samples = new Float32Array(length);
  for (let channel = 0; channel < numberOfChannels; channel++) {
    const heard = source.getChannelData(channel);
    for (let at = 0; at < length; at++)
      samples[at] = (samples[at] as number) + (heard[at] as number) / numberOfChannels;
  }
  return { samples, sampleRate };
}

/** Decodes at the file's own rate, so that the browser does not resample with its short filter. */
async function decode(file: Blob, name: string): Promise<AudioSamples> {
  if (typeof OfflineAudioContext === 'undefined') {
    throw new X2iError('audio', `${name}: audio is decoded on a page only; in a worker, give samples`);
  }
  if (file.size > MAX_BYTES) {
    throw new X2iError('audio', `${name}: has ${file.size} bytes; at most ${MAX_BYTES} are decoded: cut it`);
  }
  const bytes = await file.arrayBuffer();
  const own = sampleRateOf(new DataView(bytes)) ?? USUAL_RATE;
  const rate = own >= LEAST_RATE && own <= MOST_RATE ? own : USUAL_RATE;
  try {
    return mixed(await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes));
  } catch (cause) {
    const reason = 'has no audio that this browser can decode; try WAV or MP3';
    throw new X2iError('audio', `${name}: ${reason}`, { cause });
  }
}
