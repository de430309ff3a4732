/**
 * A model on a device: {@link createPipeline}, and the queue of its calls.
 *
 * Calls run one after another. When the device is lost or the module panics, the running call is rejected. The next
 * call starts a new worker, which loads the model again from the cache.
 *
 * @module
 */

import type { Client } from './client.js';
import type { WasmEvent, WasmSettings } from './contract.js';
import { abortedBy, toX2iError, X2iError } from './errors.js';
import { RunningGeneration } from './generation.js';
import type { SentModel } from './messages.js';
import { locate } from './model.js';
import { toImageData, toPainting } from './pictures.js';
import { type History, LoadEstimate, PaintEstimate } from './progress.js';
import { prepare, readSettings, readWeights } from './prompt.js';
import { askToPersist, networkOf } from './reach.js';
import { takeClient } from './runtime.js';
import type { DeviceInfo, GenerateOptions, Generation, ModelInfo, Output, Pipeline, PipelineOptions } from './types.js';

/**
 * Loads a model onto a device.
 *
 * @example
 * ```ts
 * const x2i = await createPipeline({ model: 'emoji' });
 * const { image } = await x2i.generate({ prompt: 'a red apple on a blue background', seed: 7 }).result;
 * ```
 *
 * @throws {@link X2iError}
 */
export async function createPipeline(options: PipelineOptions): Promise<Pipeline> {
  const { signal } = options;
  const life = new AbortController();
  const stop = (): void => life.abort(signal && abortedBy(signal));
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return new QueuedPipeline(options, await start(options, life.signal, listen(options)), life);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** A client with its model loaded. */
interface Started {
  client: Client;
  device: DeviceInfo;
  model: ModelInfo;
}

/** Rejects when the signal is aborted; its reason is the error. */
async function start(
  options: PipelineOptions,
  life: AbortSignal,
  onEvent: (event: WasmEvent) => void,
  verify?: boolean,
): Promise<Started> {
  const model = await locate(options.model, options.hubUrl);
  const { network, transfer, close } = await networkOf(options);
  if (life.aborted) throw life.reason;
  const client = takeClient(options);
  const end = (): void => client.close(life.reason as X2iError);
  life.addEventListener('abort', end);
  life.addEventListener('abort', close);
  try {
    const device = await client.call('open', { device: options.device ?? 'auto' });
    const params: SentModel = {
      model,
      ...(network && { network }),
      cache: options.cache ?? 'auto',
      ...(options.evict !== undefined && { evict: options.evict }),
      ...(verify && { verify }),
      ...readWeights(options),
    };
    return { client, device, model: await client.call('load', params, { transfer, onEvent }) };
  } catch (thrown) {
    close();
    const error = toX2iError(thrown);
    client.close(error);
    throw error;
  }
}

function listen(options: PipelineOptions): (event: WasmEvent) => void {
  const estimate = new LoadEstimate();
  return (event) => {
    warn(options, event);
    if (event.kind === 'download') askToPersist(event, options);
    if (event.kind === 'download' || event.kind === 'load') options.onProgress?.(estimate.hear(event));
  };
}

function warn({ onWarning }: PipelineOptions, event: WasmEvent): void {
  if (event.kind === 'warning') onWarning?.({ code: event.code, message: event.message });
}

/** A waiting or running call. */
interface Job {
  options: GenerateOptions;
  settings: WasmSettings;
  run: RunningGeneration<Output>;
}

class QueuedPipeline implements Pipeline {
  readonly #options: PipelineOptions;
  readonly #life: AbortController;
  readonly #queue: Job[] = [];
  #started: Started;
  #running: Job | undefined;
  #history: History | undefined;
  #verified = false;

  constructor(options: PipelineOptions, started: Started, life: AbortController) {
    this.#options = options;
    this.#started = started;
    this.#life = life;
  }

  get device(): DeviceInfo {
    return this.#started.device;
  }

  get model(): ModelInfo {
    return this.#started.model;
  }

  generate<O extends Output = 'bitmap'>(options: GenerateOptions & { output?: O }): Generation<O> {
    const run = new RunningGeneration<O>();
    const { signal } = options;
    try {
      if (this.#life.signal.aborted) throw this.#life.signal.reason;
      if (signal?.aborted) throw abortedBy(signal);
      // The queue does not know the form of the result; `#paint` returns the right one.
      const job = { options, settings: readSettings(options), run: run as unknown as RunningGeneration<Output> };
      const abort = (): void => run.fail(abortedBy(signal as AbortSignal));
      signal?.addEventListener('abort', abort, { once: true });
      const forget = (): void => signal?.removeEventListener('abort', abort);
      run.result.then(forget, forget);
      this.#queue.push(job);
      void this.#work();
    } catch (thrown) {
      run.fail(toX2iError(thrown));
    }
    return run;
  }

  close(): void {
    if (this.#life.signal.aborted) return;
    const error = new X2iError('closed', 'the pipeline is closed');
    this.#running?.run.fail(error);
    for (const { run } of this.#queue) run.fail(error);
    this.#queue.length = 0;
    // This ends the client, even while it is starting.
    this.#life.abort(error);
  }

  /** Runs job after job; at most one such loop runs. */
  async #work(): Promise<void> {
    if (this.#running) return;
    for (;;) {
      this.#running = this.#queue.shift();
      if (!this.#running) return;
      // A call that was aborted while it waited is already over.
      if (this.#running.run.isOver) continue;
      await this.#paint(this.#running).catch((thrown: unknown) => this.#running?.run.fail(toX2iError(thrown)));
    }
  }

  /** Resolves when the host is free again; after an abort, that is later than the rejection of the caller. */
  async #paint({ options, settings, run }: Job): Promise<void> {
    const { client, model } = await this.#ready();
    if (run.isOver) return;
    const wanted = settings.videoFps;
    const choose = (frames: number, fps: number): Promise<Uint32Array> =>
      client.call('chooseFrames', { frames, fps, wanted });
    const { request, transfer } = await prepare(options, settings, choose);
    if (run.isOver) return;
    const likeness = likenessOf(options, model);
    const known = this.#history?.likeness === likeness ? this.#history.timings : undefined;
    const estimate = new PaintEstimate(options.steps ?? model.defaults.steps, known);
    const onEvent = (event: WasmEvent): void => {
      // Damaged weights are loaded again before the picture is painted.
      warn(this.#options, event);
      if (event.kind === 'download' || event.kind === 'load' || event.kind === 'warning') return;
      const preview = event.kind === 'denoise' && event.preview;
      const answer = event.kind === 'encode' && event.answer;
      run.report({
        ...estimate.hear(event),
        ...(preview && { preview: toImageData(preview) }),
        ...(answer !== undefined && answer !== false && { answer }),
      });
    };
    const painted = await client.call('generate', request, { signal: options.signal, transfer, onEvent });
    this.#history = { likeness, timings: painted.timings };
    run.finish(await toPainting(painted, options.output ?? 'bitmap'));
  }

  /** The client, or a new one if it has failed. */
  async #ready(): Promise<Started> {
    if (this.#started.client.failure) {
      // Damage in the cache can end a device or the module; it is looked for once.
      const verify = !this.#verified;
      this.#verified = true;
      this.#started = await start(this.#options, this.#life.signal, (event) => warn(this.#options, event), verify);
    }
    return this.#started;
  }
}

/** A key of equal images for estimates: they take about the same time. */
function likenessOf({ width, height, steps, conditioning }: GenerateOptions, { defaults }: ModelInfo): string {
  return [
    width ?? defaults.width,
    height ?? defaults.height,
    steps ?? defaults.steps,
    conditioning ?? defaults.conditioning,
  ].join();
}
