/**
 * Decodes the frames of a video file that the LLM reads. The module chooses them, like the native program.
 *
 * mediabunny, which is loaded for the first file, demuxes files, and WebCodecs decodes them. The browser's image decoder
 * reads animated GIF, WebP and PNG. Only the chosen frames are kept; they are scaled down when they are large
 * and many. Not here: the audio; a prompt may have the same file as `{ audio }`, too.
 *
 * @module
 */

import type { InputVideoTrack } from 'mediabunny';
import { toX2iError, X2iError } from './errors.js';

/** The most pixels of all frames that are kept: 256 MiB. */
const MAX_PIXELS = 2 ** 26;
/** The most frames that are kept. */
const MAX_FRAMES = 768;
/** The largest file in bytes: the metadata has its hash, which needs all of it in memory. */
const MAX_BYTES = 2 ** 30;
/** The longest video in seconds: all of it is decoded, since frames depend on earlier ones. */
const MAX_SECONDS = 4 * 3600;
/** The most decoded pixels of an animated image: some seconds of work. */
const MAX_ANIMATED_PIXELS = 1_000_000_000;
/** A shorter delay counts as {@link DEFAULT_DELAY}, as in browsers; in microseconds. */
const LEAST_DELAY = 20_000;
const DEFAULT_DELAY = 100_000;

/** Chooses the indices of the frames that the LLM reads. */
export type ChooseFrames = (frames: number, fps: number) => Promise<ArrayLike<number>>;

/** The chosen frames. */
export interface Film {
  frames: ImageBitmap[];
  /** Frames per second. */
  fps: number;
}

/** Decodes a file; `name` is for messages. */
export async function readVideo(file: Blob, name: string, choose: ChooseFrames, signal?: AbortSignal): Promise<Film> {
  const kept = new Kept(name, signal);
  try {
    if (file.size > MAX_BYTES) throw kept.error(`has ${file.size} bytes; at most ${MAX_BYTES} are read: cut it`);
    const animated = await animatedType(file);
    return await (animated ? readAnimated(file, animated, kept, choose) : readFilm(file, kept, choose));
  } catch (thrown) {
    kept.drop();
    const error = toX2iError(thrown);
    if (error.code !== 'internal') throw error;
    throw new X2iError('video', `${name}: can't be decoded: ${error.message}`, { cause: thrown });
  }
}

/** Collects frames, and scales them down when they are many. */
class Kept {
  readonly name: string;
  readonly frames: ImageBitmap[] = [];
  readonly #signal: AbortSignal | undefined;
  #most = MAX_PIXELS;

  constructor(name: string, signal: AbortSignal | undefined) {
    this.name = name;
    this.#signal = signal;
  }

  /** The indices of the frames that the LLM reads. */
  async choose(frames: number, seconds: number, choose: ChooseFrames): Promise<number[]> {
    if (frames === 0 || !(seconds > 0)) throw this.error('has no frames');
    if (seconds > MAX_SECONDS) throw this.error(`is longer than ${MAX_SECONDS / 3600} hours; cut it`);
    const chosen = Array.from(await choose(frames, frames / seconds));
    if (chosen.length > MAX_FRAMES)
      throw this.error(`${chosen.length} frames would be sampled, at most ${MAX_FRAMES} can be`);
    this.#most = MAX_PIXELS / chosen.length;
    return chosen;
  }

  /** Adds a frame of this size. */
  push(
    width: number,
    height: number,
    draw: (context: OffscreenCanvasRenderingContext2D, w: number, h: number) => void,
  ): void {
    this.#signal?.throwIfAborted();
    const shrink = Math.min(1, Math.sqrt(this.#most / (width * height)));
    const canvas = new OffscreenCanvas(
      Math.max(1, Math.floor(width * shrink)),
      Math.max(1, Math.floor(height * shrink)),
    );
    const context = canvas.getContext('2d');
    if (!context) throw this.error('the browser gives no 2d canvas to read frames with');
    context.imageSmoothingQuality = 'high';
    draw(context, canvas.width, canvas.height);
    this.frames.push(canvas.transferToImageBitmap());
  }

  error(reason: string): X2iError {
    return new X2iError('video', `${this.name}: ${reason}`);
  }

  drop(): void {
    for (const frame of this.frames) frame.close();
  }
}

/** Decodes MP4, MOV, WebM and Matroska. */
async function readFilm(file: Blob, kept: Kept, choose: ChooseFrames): Promise<Film> {
  const { BlobSource, Input, MATROSKA, MP4, QTFF, VideoSampleSink, WEBM } = await import('./demux.js');
  const input = new Input({ source: new BlobSource(file), formats: [MP4, QTFF, WEBM, MATROSKA] });
  try {
    if (!(await input.canRead())) throw kept.error('is not a video that x2i can read (MP4, MOV, WebM, Matroska, GIF)');
    const track = await input.getPrimaryVideoTrack();
    if (!track) throw kept.error('has no video track; give audio as { audio }');
    if (!(await track.canDecode()))
      throw kept.error(`this browser can't decode ${(await track.getCodec()) ?? 'its codec'}`);
    const { starts, seconds } = await timesOf(track, kept);
    const chosen = await kept.choose(starts.length, seconds, choose);
    const wanted = chosen.map((frame) => starts[frame] as number);
    for await (const sample of new VideoSampleSink(track).samplesAtTimestamps(wanted)) {
      if (!sample) continue;
      kept.push(sample.displayWidth, sample.displayHeight, (context, w, h) => sample.draw(context, 0, 0, w, h));
      sample.close();
    }
    const last = kept.frames.at(-1);
    if (!last) throw kept.error('is broken: none of its frames could be decoded');
    // As in the native program: the last frames are often incomplete.
    while (kept.frames.length < chosen.length) kept.frames.push(await createImageBitmap(last));
    return { frames: kept.frames, fps: chosen.length / seconds };
  } finally {
    input.dispose();
  }
}

/** The start times of all frames in order, and the whole duration. */
async function timesOf(track: InputVideoTrack, kept: Kept): Promise<{ starts: number[]; seconds: number }> {
  const { EncodedPacketSink } = await import('./demux.js');
  const starts: number[] = [];
  let end = 0;
  for await (const packet of new EncodedPacketSink(track).packets(undefined, undefined, { metadataOnly: true })) {
    starts.push(packet.timestamp);
    end = Math.max(end, packet.timestamp + packet.duration);
    if (packet.timestamp > MAX_SECONDS) break;
  }
  starts.sort((a, b) => a - b);
  const [first = 0] = starts;
  if (starts.length === 0) throw kept.error('has no frames');
  // If the length of the last frame is unknown, it is that of the others.
  const last = starts.at(-1) as number;
  const alone = starts.length > 1 ? (last - first) / (starts.length - 1) : 1;
  return { starts, seconds: (end > last ? end : last + alone) - first };
}

/** The type of an image format that may be animated, by its first bytes. */
async function animatedType(file: Blob): Promise<string | undefined> {
  const start = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  const text = String.fromCharCode(...start);
  if (text.startsWith('GIF8')) return 'image/gif';
  if (text.startsWith('RIFF') && text.endsWith('WEBP')) return 'image/webp';
  return text.startsWith('\x89PNG') ? 'image/png' : undefined;
}

async function readAnimated(file: Blob, type: string, kept: Kept, choose: ChooseFrames): Promise<Film> {
  if (typeof ImageDecoder === 'undefined')
    throw kept.error('this browser decodes no animated pictures; give an MP4 or WebM');
  const options = { type, preferAnimation: true, colorSpaceConversion: 'none' } as const;
  const decoder = new ImageDecoder({ data: await file.arrayBuffer(), ...options });
  try {
    await decoder.tracks.ready;
    await decoder.completed;
    const count = decoder.tracks.selectedTrack?.frameCount ?? 0;
    let microseconds = 0;
    for (let frameIndex = 0; frameIndex < count; frameIndex++) {
      const { image } = await decoder.decode({ frameIndex });
      const { duration, displayWidth, displayHeight } = image;
      image.close();
      if (displayWidth * displayHeight * count > MAX_ANIMATED_PIXELS) {
        throw kept.error(`has ${count} frames of ${displayWidth}x${displayHeight}; make it smaller`);
      }
      microseconds += duration === null || duration < LEAST_DELAY ? DEFAULT_DELAY : duration;
    }
    const seconds = microseconds / 1e6;
    const chosen = await kept.choose(count, seconds, choose);
    for (const frameIndex of chosen) {
      const { image } = await decoder.decode({ frameIndex });
      kept.push(image.displayWidth, image.displayHeight, (context, w, h) => context.drawImage(image, 0, 0, w, h));
      image.close();
    }
    return { frames: kept.frames, fps: chosen.length / seconds };
  } finally {
    decoder.close();
  }
}
