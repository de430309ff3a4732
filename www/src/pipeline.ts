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
import { readMemory } from './memory.js';
import type { Painted, SentModel, SentRequest } from './messages.js';
import { locate } from './model.js';
import { checkGenerate, checkPipeline } from './options.js';
import { toImageData, toPainting } from './pictures.js';
import { type History, LoadEstimate, PaintEstimate } from './progress.js';
import { prepare, readSettings, readWeights, seedOf } from './prompt.js';
import { askToPersist, networkOf } from './reach.js';
import { joinClient, prepare as prepareRuntime, takeClient } from './runtime.js';
import type {
  DeviceInfo,
  GenerateOptions,
  Generation,
  ModelInfo,
  Output,
  Painting,
  Pipeline,
  PipelineOptions,
} from './types.js';

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
  checkPipeline(options);
  const { signal } = options;
  const life = new AbortController();
  const stop = (): void => life.abort(signal && abortedBy(signal));
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return new QueuedPipeline(options, await start(options, life.signal, listen(options)), life);
  } catch (thrown) {
    throw toX2iError(thrown);
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
  await prepareRuntime(options);
  const model = await locate(options.model, options.hubUrl);
  const { network, transfer, close } = await networkOf(options);
  if (life.aborted) throw life.reason;
  const sent: SentModel = {
    model,
    ...(network && { network }),
    cache: options.cache ?? 'auto',
    ...(options.evict !== undefined && { evict: options.evict }),
    ...(verify && { verify }),
    ...readMemory(options),
    ...readWeights(options),
  };
  const device = options.device ?? 'auto';
  const client = options.share ? joinClient(options, { device, sent }) : takeClient(options);
  const end = (): void => client.close(life.reason as X2iError);
  life.addEventListener('abort', end);
  life.addEventListener('abort', close);
  try {
    const opened = await client.call('open', { device });
    return { client, device: opened, model: await client.call('load', sent, { transfer, onEvent }) };
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

/** One image of a job. */
interface One {
  options: GenerateOptions;
  run: RunningGeneration<Output>;
  request: SentRequest;
  transfer: Transferable[];
  index: number;
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
    try {
      checkGenerate(options);
      const { signal } = options;
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

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
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
    const started = await this.#ready();
    if (run.isOver) return;
    const wanted = settings.videoFps;
    const choose = (frames: number, fps: number): Promise<Uint32Array> =>
      started.client.call('chooseFrames', { frames, fps, wanted });
    const { request, transfer } = await prepare(options, settings, choose);
    const { numImages = 1, output = 'bitmap' } = options;
    const images: Painting[] = [];
    for (let index = 0; index < numImages && !run.isOver; index++) {
      const one = { ...request, settings: { ...settings, seed: seedOf(settings, index) } };
      // What moves to the host is gone here, so only the last image may take it.
      const moved = index === numImages - 1 ? transfer : [];
      const painted = await this.#paintOne(started, { options, run, request: one, transfer: moved, index });
      images.push(await toPainting(painted, output));
    }
    const [first] = images;
    if (first) run.finish({ ...first, images });
  }

  async #paintOne({ client, model }: Started, { options, run, request, transfer, index }: One): Promise<Painted> {
    const likeness = likenessOf(options, model);
    const known = this.#history?.likeness === likeness ? this.#history.timings : undefined;
    const estimate = new PaintEstimate(options.steps ?? model.defaults.steps, known);
    const { numImages = 1 } = options;
    const later = (numImages - 1 - index) * (known?.total ?? Number.NaN);
    const onEvent = (event: WasmEvent): void => {
      // Damaged weights are loaded again before the picture is painted.
      warn(this.#options, event);
      if (event.kind === 'download' || event.kind === 'load' || event.kind === 'warning') return;
      const preview = event.kind === 'denoise' && event.preview;
      const answer = event.kind === 'encode' && event.answer;
      const { eta: own, ...progress } = estimate.hear(event);
      const eta = index === numImages - 1 ? own : own !== undefined ? own + later / 1000 : undefined;
      run.report({
        ...progress,
        index,
        numImages,
        ...(eta !== undefined && Number.isFinite(eta) && { eta }),
        ...(preview && { preview: toImageData(preview) }),
        ...(answer !== undefined && answer !== false && { answer }),
      });
    };
    const painted = await client.call('generate', request, { signal: options.signal, transfer, onEvent });
    this.#history = { likeness, timings: painted.timings };
    return painted;
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
