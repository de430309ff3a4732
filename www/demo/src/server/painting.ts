/** One painting: a job that is ordered, heard, and cancelled when its caller stops. */

import { X2iError } from '../../../src/errors.js';
import type { RunningGeneration } from '../../../src/generation.js';
import { PaintEstimate } from '../../../src/progress.js';
import type { GenerateOptions, ModelInfo, Output, Painting, PromptPart, StepProgress } from '../../../src/types.js';
import { ask, askJson, events, refusal } from './ask';
import { readMetadata } from './metadata';

/** A job as `/v1/x2i/jobs` tells it. */
interface Job {
  id: string;
  status: 'queued' | 'running' | 'succeeded' | 'canceling' | 'canceled' | 'failed' | 'expired';
  outputs: Array<{ url: string; seed: number; width: number; height: number }>;
  answer: string | null;
  error: { message: string; code: string; param: string | null } | null;
}

interface Progress {
  value: number;
  step: number;
  steps: number;
  message: 'load' | 'encode' | 'denoise' | 'decode';
}

/** The share of a picture's work at which the decoder begins, as the server counts. */
const DECODES_AT = 0.95;
/** Before the events are asked for again when their stream was cut. */
const PAUSE = 500;
/** A job has one image. */
const ONE = { index: 0, numImages: 1 };

/** Paints; the generation hears of it. */
export async function paint<O extends Output>(model: ModelInfo, options: GenerateOptions & { output?: O }, stop: AbortSignal, run: RunningGeneration<O>): Promise<void> {
  const begun = performance.now();
  const order = { method: 'POST', body: form(model, options), signal: stop };
  let job = await askJson<Job>('v1/x2i/jobs', order);
  const cancel = (): void => void ask(`v1/x2i/jobs/${job.id}/cancel`, { method: 'POST', keepalive: true }).catch(() => undefined);
  if (stop.aborted) return cancel();
  stop.addEventListener('abort', cancel, { once: true });
  try {
    const hearing = new Hearing(model, options, (progress) => run.report(progress as StepProgress));
    while (job.status === 'queued' || job.status === 'running') {
      job = await listen(job, hearing, stop);
    }
    if (job.status !== 'succeeded') throw job.error === null ? new X2iError('aborted', 'the job was cancelled') : refusal(job.error);
    const image = await painting<O>(job, options.output, hearing.timings(begun));
    run.finish({ ...image, images: [image] });
  } finally {
    stop.removeEventListener('abort', cancel);
  }
}

/** Hears a job until it is over, or its stream is cut. */
async function listen(job: Job, hearing: Hearing, stop: AbortSignal): Promise<Job> {
  let now = job;
  try {
    for await (const { name, data } of events(`v1/x2i/jobs/${job.id}/events`, stop)) {
      if (name === 'status') now = data as Job;
      else if (name === 'progress') hearing.progress(data as Progress);
      else if (name === 'preview') await hearing.preview((data as { b64_json: string }).b64_json);
      else if (name === 'answer') hearing.answer((data as { answer: string }).answer);
    }
  } catch (error) {
    if (stop.aborted || !(error instanceof TypeError)) throw error;
  }
  if (now.status !== 'queued' && now.status !== 'running') return now;
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
  return askJson<Job>(`v1/x2i/jobs/${job.id}`, { signal: stop });
}

/** The order as a form: texts in JSON, files beside it. */
function form(model: ModelInfo, options: GenerateOptions): FormData {
  const body = new FormData();
  const files: Blob[] = [];
  const refer = (file: unknown): string => {
    if (!(file instanceof Blob)) throw new X2iError('request', 'the server takes files, not pixels or samples');
    files.push(file);
    return `@file${files.length - 1}`;
  };
  const part = (given: PromptPart): Record<string, string> => {
    if (typeof given === 'string') return { text: given };
    const [[kind, value] = []] = Object.entries(given);
    return { [kind as string]: kind === 'text' ? (value as string) : refer(value) };
  };
  const { prompt } = options;
  const parts = (typeof prompt === 'string' ? [prompt] : prompt).map(part);
  const { seed, width, height, steps, guidance, cache, conditioning, background } = options;
  const plain = { seed, width, height, steps, guidance, cache: cache === 'off' ? undefined : cache, conditioning, background };
  for (const [name, value] of Object.entries(plain)) if (value !== undefined) body.set(name, String(value));
  body.set('model', model.name);
  body.set('parts', JSON.stringify(parts));
  body.set('previews', 'true');
  files.forEach((file, index) => body.set(`file${index}`, file, file instanceof File ? file.name : `file${index}`));
  return body;
}

/** Turns the server's progress into the library's. */
class Hearing {
  readonly #report: (progress: StepProgress) => void;
  readonly #estimate: PaintEstimate;
  /** When each phase began. */
  readonly #began = new Map<StepProgress['phase'], number>();
  #last: StepProgress;

  constructor(model: ModelInfo, options: GenerateOptions, report: (progress: StepProgress) => void) {
    const steps = options.steps ?? model.defaults.steps;
    this.#report = report;
    this.#estimate = new PaintEstimate(steps);
    this.#last = { ...ONE, phase: 'encode', step: 0, steps, done: 0, total: 1 };
  }

  progress({ value, step, steps, message }: Progress): void {
    const phase = message === 'load' ? 'encode' : message;
    if (!this.#began.has(phase)) this.#began.set(phase, performance.now());
    const whole = { encode: 0, denoise: value / DECODES_AT, decode: (value - DECODES_AT) / (1 - DECODES_AT) }[phase];
    const done = Math.min(Math.max(whole, 0), 1);
    const event = phase === 'denoise' ? ({ kind: phase, step, steps, done, total: 1 } as const) : ({ kind: phase, done, total: 1 } as const);
    this.#tell({ ...ONE, ...this.#estimate.hear(event) });
  }

  async preview(png: string): Promise<void> {
    const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext('2d');
    context?.drawImage(bitmap, 0, 0);
    bitmap.close();
    const preview = context?.getImageData(0, 0, width, height);
    if (preview !== undefined) this.#tell({ ...this.#last, preview });
  }

  answer(answer: string): void {
    this.#tell({ ...this.#last, answer });
  }

  /** Milliseconds of each phase until now; zeros where a picture was painted before its events could be heard. */
  timings(begun: number): Painting['timings'] {
    const now = performance.now();
    const [denoise, decode] = [this.#began.get('denoise'), this.#began.get('decode')];
    if (denoise === undefined || decode === undefined) return { encode: 0, denoise: 0, decode: 0, total: now - begun };
    return { encode: denoise - begun, denoise: decode - denoise, decode: now - decode, total: now - begun };
  }

  #tell(progress: StepProgress): void {
    const { preview: _, answer: __, ...rest } = progress;
    this.#last = rest;
    this.#report(progress);
  }
}

async function painting<O extends Output>(job: Job, output: O | undefined, timings: Painting['timings']): Promise<Painting<O>> {
  const [made] = job.outputs;
  if (made === undefined) throw new X2iError('internal', 'the server painted nothing');
  const png = await (await ask(made.url.slice(1))).blob();
  const metadata = await readMetadata(png);
  if (metadata === undefined) throw new X2iError('internal', 'the picture has no record');
  const { width, height } = made;
  return {
    image: (await imageOf(png, output ?? 'bitmap')) as Painting<O>['image'],
    width,
    height,
    png,
    metadata,
    seed: BigInt(metadata.seed),
    timings,
    ...(metadata.answer === undefined ? {} : { answer: metadata.answer }),
  };
}

async function imageOf(png: Blob, output: Output): Promise<Blob | ImageBitmap> {
  if (output === 'blob') return png;
  if (output === 'bitmap') return createImageBitmap(png);
  throw new X2iError('request', 'the server gives files, not pixels');
}
