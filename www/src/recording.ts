/**
 * Records audio from the microphone as a file for a prompt.
 *
 * @module
 */

import { abortedBy, X2iError } from './errors.js';

/** The default limit in seconds, long enough to describe an image. */
const MAX_SECONDS = 60;

export interface RecordingOptions {
  /** The most seconds; default 60. */
  maxSeconds?: number;
  /** Cancels the recording. */
  signal?: AbortSignal;
}

/** A running recording. */
export interface Recording {
  /** The audio file, after `stop` or when the time is up; for `{ audio }` in a prompt. */
  readonly result: Promise<Blob>;
  stop(): void;
}

/**
 * Requests the microphone and begins to record. The microphone is released when the recording ends.
 *
 * @example
 * ```ts
 * const recording = await recordAudio();
 * stopButton.onclick = () => recording.stop();
 * const { image } = await x2i.generate({ prompt: [{ audio: await recording.result }] }).result;
 * ```
 *
 * @throws {@link X2iError} `audio` if there is no microphone, or the page may not use it.
 */
export async function recordAudio({ maxSeconds = MAX_SECONDS, signal }: RecordingOptions = {}): Promise<Recording> {
  const stream = await openMicrophone();
  const release = (): void => {
    for (const track of stream.getTracks()) track.stop();
  };
  if (signal?.aborted) {
    release();
    throw abortedBy(signal);
  }
  const recorder = new MediaRecorder(stream);
  const stop = (): void => {
    if (recorder.state !== 'inactive') recorder.stop();
  };
  const timer = setTimeout(stop, maxSeconds * 1000);
  signal?.addEventListener('abort', stop, { once: true });
  const result = heard(recorder, signal).finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
    release();
  });
  // A caller that uses the signal need not handle the rejection.
  result.catch(() => {});
  recorder.start();
  return { result, stop };
}

async function openMicrophone(): Promise<MediaStream> {
  const devices = globalThis.navigator?.mediaDevices;
  if (!devices || typeof MediaRecorder === 'undefined') {
    throw new X2iError('audio', 'this page has no way to a microphone; it needs https, or localhost');
  }
  try {
    return await devices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (cause) {
    const denied = cause instanceof DOMException && cause.name === 'NotAllowedError';
    throw new X2iError('audio', denied ? 'the microphone was not allowed' : 'there is no microphone', { cause });
  }
}

function heard(recorder: MediaRecorder, signal: AbortSignal | undefined): Promise<Blob> {
  const pieces: Blob[] = [];
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  return new Promise((resolve, reject) => {
    recorder.onerror = () => reject(new X2iError('audio', 'the microphone stopped working'));
    recorder.onstop = () => {
      if (signal?.aborted) reject(abortedBy(signal));
      else resolve(new Blob(pieces, { type: recorder.mimeType }));
    };
  });
}
