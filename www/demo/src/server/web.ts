/**
 * What the page uses of the library, answered by `x2i serve` instead of WebAssembly. The build for the server puts this
 * module in the place of `@x2i/web`; all other code of the page is the same.
 */

import { abortedBy, toX2iError, X2iError } from '../../../src/errors.js';
import { RunningGeneration } from '../../../src/generation.js';
import type {
  CachedModel,
  DeviceInfo,
  GenerateOptions,
  Generation,
  ModelDescription,
  ModelInfo,
  ModelLocation,
  Output,
  Pipeline,
  PipelineOptions,
} from '../../../src/types.js';
import { askJson, reach } from './ask';
import { paint } from './painting';

export { X2iError, type X2iErrorCode } from '../../../src/errors.js';
export { type Recording, type RecordingOptions, recordAudio } from '../../../src/recording.js';
export type * from '../../../src/types.js';
export { readMetadata } from './metadata';

/** A model as `/v1/models` tells it. */
interface ServedModel {
  id: string;
  x2i?: { modalities: ModelInfo['modalities']; width: number; height: number; steps: number; guidance: number; conditioning: 'prompt' | 'answer' };
}

/**
 * A gateway does not know its workers' models. Nothing is refused here then, and no size or number of steps is sent: zeros
 * stand for what only the worker knows.
 */
const UNKNOWN = {
  modalities: ['text', 'image', 'video', 'audio'] as ModelInfo['modalities'],
  width: 0,
  height: 0,
  steps: 0,
  guidance: 0,
  conditioning: 'prompt' as const,
};

interface Worker {
  device: string;
  description: string;
  up: boolean;
}

/** The server's model of this name; its first one for another name, such as the page's own default. */
async function find(location: ModelLocation): Promise<ServedModel> {
  const { data } = await askJson<{ data: ServedModel[] }>('v1/models');
  const found = data.find(({ id }) => id === location) ?? data[0];
  if (found === undefined) throw new X2iError('device-unavailable', 'the server has no model now');
  return found;
}

/** Nothing is downloaded here. */
export async function describeModel(location: ModelLocation): Promise<ModelDescription> {
  const { id } = await find(location);
  return { name: id, files: [], bytes: 0, cachedBytes: 0 };
}

/** The workers that can paint. A server that is not ready says so with 503, and lists them all the same. */
async function workersUp(): Promise<Worker[]> {
  const response = await reach('ready');
  const { workers = [] } = (await response.json().catch(() => ({}))) as { workers?: Worker[] };
  return workers.filter(({ up }) => up);
}

/** A device of the server under a name. */
function named({ device }: Worker, name: string): DeviceInfo {
  return { kind: device.startsWith('cpu') ? 'cpu' : 'webgpu', name, software: false, f16: false, subgroups: false };
}

/** The server's devices. */
export async function listDevices(): Promise<DeviceInfo[]> {
  return (await workersUp()).map((worker) => named(worker, worker.description || worker.device));
}

/** No model is stored here. */
export async function cachedModels(): Promise<CachedModel[]> {
  return [];
}

/** No model is stored here. */
export async function deleteCachedModel(_name: string): Promise<void> {}

/** A model of the server. Which device paints is the server's choice. */
export async function createPipeline(options: PipelineOptions): Promise<Pipeline> {
  const [{ id, x2i = UNKNOWN }, workers] = await Promise.all([find(options.model), workersUp()]);
  const [first] = workers;
  if (first === undefined) throw new X2iError('device-unavailable', 'no device of the server works now');
  const device = named(first, workers.length > 1 ? `${workers.length} workers` : `the server (${first.description || first.device})`);
  const { modalities, ...defaults } = x2i;
  return new ServerPipeline({ name: id, modalities, defaults }, device);
}

class ServerPipeline implements Pipeline {
  readonly model: ModelInfo;
  readonly device: DeviceInfo;
  readonly #life = new AbortController();

  constructor(model: ModelInfo, device: DeviceInfo) {
    this.model = model;
    this.device = device;
  }

  generate<O extends Output = 'bitmap'>(options: GenerateOptions & { output?: O }): Generation<O> {
    const run = new RunningGeneration<O>();
    const { signal } = options;
    const signals = [this.#life.signal, ...(signal === undefined ? [] : [signal])];
    const stop = AbortSignal.any(signals);
    if (stop.aborted) run.fail(abortedBy(stop));
    stop.addEventListener('abort', () => run.fail(abortedBy(stop)), { once: true });
    paint(this.model, options, stop, run).catch((thrown: unknown) => run.fail(toX2iError(thrown)));
    return run;
  }

  close(): void {
    this.#life.abort();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
