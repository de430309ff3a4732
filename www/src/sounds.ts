/**
 * A sound in any form to one channel of samples. The module resamples them to what models hear, as the native program
 * does.
 *
 * The browser decodes, off the page's thread; only pages have what it takes (workers have no `OfflineAudioContext`).
 *
 * @module
 */

import { X2iError } from './errors.js';
import { sampleRateOf } from './rates.js';
import type { AudioSamples, AudioSource } from './types.js';

/** The longest sound: its tokens fill the longest context of a model that hears. The native program's limit, too. */
const MAX_SECONDS = 1310;
/** The largest file, in bytes: decoders take all of it at once. */
const MAX_BYTES = 512 * 2 ** 20;
/** Rates at which every browser decodes. */
const [LEAST_RATE, MOST_RATE] = [8000, 96_000];
/** For files that do not say theirs where we look: that of recordings, and of most videos. */
const USUAL_RATE = 48_000;

/** The samples, in an array of their own; `name` is for messages. */
export async function readSound(source: AudioSource, name: string): Promise<AudioSamples> {
  const sound = source instanceof Blob ? await decode(source, name) : mixed(source);
  const seconds = sound.samples.length / sound.sampleRate;
  if (seconds > MAX_SECONDS) {
    const reason = `lasts ${Math.round(seconds)} seconds; a model hears at most ${MAX_SECONDS}: cut it`;
    throw new X2iError('audio', `${name}: ${reason}`);
  }
  return sound;
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

/** At the file's own rate, so that the browser resamples nothing: its filter is a short one. */
async function decode(file: Blob, name: string): Promise<AudioSamples> {
  if (typeof OfflineAudioContext === 'undefined') {
    throw new X2iError('audio', `${name}: sounds are decoded on a page; in a worker, give their samples`);
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
    const reason = 'is no sound that this browser decodes, or holds none; try WAV or MP3';
    throw new X2iError('audio', `${name}: ${reason}`, { cause });
  }
}
