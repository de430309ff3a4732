/**
 * A sound in any form to what models hear: one channel, 16 kHz.
 *
 * The browser decodes and resamples, off the page's thread; only pages have what it takes (workers have no
 * `OfflineAudioContext`). It leaves out the check of the samples, which is the module's.
 *
 * @module
 */

import { X2iError } from './errors.js';
import type { AudioSamples, AudioSource } from './types.js';

/** Samples a second. */
export const SAMPLE_RATE = 16_000;
/** The longest sound: its tokens fill the longest context of a model that hears. The native program's limit, too. */
const MAX_SECONDS = 1310;
/** The largest file, in bytes: decoders take all of it at once. */
const MAX_BYTES = 512 * 2 ** 20;

/** The samples, in an array of their own; `name` is for messages. */
export async function readSound(source: AudioSource, name: string): Promise<Float32Array<ArrayBuffer>> {
  const mono = source instanceof Blob ? await decode(source, name) : mixed(source);
  checkLength(mono.samples.length / mono.sampleRate, name);
  if (mono.sampleRate === SAMPLE_RATE) return mono.samples.slice();
  // Decoders resample with a good filter, where a graph of audio nodes only draws lines between samples.
  return (await decode(waveFile(mono), name)).samples.slice();
}

function mixed(source: AudioBuffer | AudioSamples): AudioSamples {
  if ('samples' in source) return source;
  const [first, ...others] = Array.from({ length: source.numberOfChannels }, (_, at) => source.getChannelData(at));
  const samples = (first ?? new Float32Array()).slice();
  for (const other of others)
    for (let at = 0; at < samples.length; at++) samples[at] = (samples[at] ?? 0) + (other[at] ?? 0);
  if (others.length > 0)
    for (let at = 0; at < samples.length; at++) samples[at] = (samples[at] ?? 0) / source.numberOfChannels;
  return { samples, sampleRate: source.sampleRate };
}

async function decode(file: Blob, name: string): Promise<AudioSamples> {
  if (typeof OfflineAudioContext === 'undefined') {
    throw new X2iError('audio', `${name}: sounds are decoded on a page; in a worker, give samples of 16 kHz`);
  }
  if (file.size > MAX_BYTES) {
    throw new X2iError('audio', `${name}: has ${file.size} bytes; at most ${MAX_BYTES} are decoded: cut it`);
  }
  const bytes = await file.arrayBuffer();
  try {
    return mixed(await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(bytes));
  } catch (cause) {
    throw new X2iError('audio', `${name}: is no sound that this browser decodes, or holds none; try WAV or MP3`, {
      cause,
    });
  }
}

function checkLength(seconds: number, name: string): void {
  if (seconds <= MAX_SECONDS) return;
  const reason = `lasts ${Math.round(seconds)} seconds; a model hears at most ${MAX_SECONDS}: cut it`;
  throw new X2iError('audio', `${name}: ${reason}`);
}

/** One channel of 32-bit floats as a WAV file. */
function waveFile({ samples, sampleRate }: AudioSamples): Blob {
  const bytes = samples.length * 4;
  const header = new DataView(new ArrayBuffer(44));
  const text = (at: number, letters: string): void => {
    for (let index = 0; index < letters.length; index++) header.setUint8(at + index, letters.charCodeAt(index));
  };
  text(0, 'RIFF');
  header.setUint32(4, 36 + bytes, true);
  text(8, 'WAVEfmt ');
  header.setUint32(16, 16, true);
  header.setUint16(20, 3, true); // floats
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, sampleRate * 4, true);
  header.setUint16(32, 4, true);
  header.setUint16(34, 32, true);
  text(36, 'data');
  header.setUint32(40, bytes, true);
  return new Blob([header, samples.slice()], { type: 'audio/wav' });
}
