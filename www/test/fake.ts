/**
 * A worker whose host and messages are the real ones, and whose WebAssembly module is written here.
 *
 * Messages cross a `MessageChannel`, so they are cloned and transferred as between threads.
 *
 * @module
 */

import { WorkerChannel } from '../src/channel.js';
import type {
  InputFile,
  LoadOptions,
  Session,
  WasmEvent,
  WasmModule,
  WasmPainting,
  WasmPart,
  WasmRequest,
} from '../src/contract.js';
import { Host } from '../src/host.js';
import type { ToHost } from '../src/messages.js';
import { connectWith } from '../src/runtime.js';
import type { DeviceInfo, Metadata, ModelInfo, UsedFile } from '../src/types.js';

export const DEVICE: DeviceInfo = { kind: 'cpu', name: 'CPU', software: false, f16: false, subgroups: false };

const MODEL: ModelInfo = {
  name: 'fake',
  modalities: ['text'],
  defaults: { width: 2, height: 2, steps: 4, guidance: 0, conditioning: 'prompt' },
};

type OnEvent = (event: WasmEvent) => void;
type Load = (signal: AbortSignal | undefined, onEvent: OnEvent) => Promise<void>;
type Paint = (request: WasmRequest, signal: AbortSignal | undefined, onEvent: OnEvent) => Promise<WasmPainting>;

/** What all workers of one test did, and what they shall do. */
export class Script {
  /** `open`, `load` and `generate PROMPT`, `end PROMPT`, of all workers in order. */
  readonly log: string[] = [];
  readonly workers: FakeWorker[] = [];
  /** What the last model was loaded with. */
  loaded: LoadOptions | undefined;
  open: (device: string) => Promise<void> = async () => {};
  load: Load = async (_signal, onEvent) => {
    onEvent({ kind: 'download', file: 'flux.gguf', done: 5, total: 10, cached: false });
    onEvent({ kind: 'warning', code: 'quota', message: 'the disk is full' });
    onEvent({ kind: 'load', done: 1, total: 1 });
  };
  paint: Paint = paint;

  constructor() {
    connectWith(() => {
      const worker = new FakeWorker(this);
      this.workers.push(worker);
      return {
        channel: new WorkerChannel(worker as unknown as Worker, 'https://example.org/worker.js'),
        wasmUrl: undefined,
      };
    });
  }

  get alive(): number {
    return this.workers.filter((worker) => !worker.terminated).length;
  }
}

/** The parts of `Worker` that the client uses. */
export class FakeWorker {
  onmessage: (event: { data: unknown }) => void = () => {};
  onmessageerror: () => void = () => {};
  onerror: (event: { message: string; preventDefault(): void }) => void = () => {};
  terminated = false;
  /** Ends the module, as a panic or a full memory does. */
  panic: (message: string, code?: string) => void = () => {};
  readonly #ports = new MessageChannel();

  constructor(script: Script) {
    const { port1, port2 } = this.#ports;
    const wasm = moduleOf(script, this);
    const host = new Host(
      async () => ({ wasm, openThreads: async () => 1, explain: (panic) => panic }),
      (message, transfer) => port2.postMessage(message, transfer as never),
    );
    port2.onmessage = ({ data }) => host.receive(data as ToHost);
    port1.onmessage = ({ data }) => this.onmessage({ data });
  }

  postMessage(message: unknown, transfer: Transferable[]): void {
    if (!this.terminated) this.#ports.port1.postMessage(message, transfer as never);
  }

  /** A worker is ended between two instructions: nothing it had still to say arrives. */
  terminate(): void {
    this.terminated = true;
    this.#ports.port1.onmessage = null;
    this.#ports.port1.close();
    this.#ports.port2.close();
  }

  /** An uncaught error in the worker, or a script that can't be loaded. */
  fail(message: string): void {
    this.onerror({ message, preventDefault: () => {} });
  }
}

function moduleOf(script: Script, worker: FakeWorker): WasmModule {
  const session: Session = {
    device: () => DEVICE,
    load: async (_model, options, signal, onEvent) => {
      script.log.push('load');
      script.loaded = options;
      await script.load(signal, onEvent);
      return MODEL;
    },
    chooseFrames: (frames) => new Uint32Array([0, frames - 1]),
    generate: async (request, signal, onEvent) => {
      script.log.push(`generate ${textOf(request)}`);
      try {
        return await script.paint(request, signal, onEvent);
      } finally {
        script.log.push(`end ${textOf(request)}`);
      }
    },
    free: () => {},
  };
  return {
    default: async () => undefined,
    Session: {
      open: async (device) => {
        script.log.push('open');
        await script.open(device);
        return session;
      },
    },
    listDevices: async () => [DEVICE],
    describeModel: async ({ name }) => ({ name, files: [], bytes: 1, cachedBytes: 0 }),
    cachedModels: async () => [],
    deleteCachedModel: async () => {},
    readMetadata: (png) =>
      png.length > 0 ? metadataOf({ prompt: [], turns: [], seed: png.length, preview: false }) : undefined,
    onPanic: (handler) => {
      worker.panic = (message, code = 'internal') => handler(message, code);
    },
    tellRelaxedSimd: () => {},
    openThreads: () => {},
    runThread: () => {},
  };
}

/** Paints 2x2 in the request's steps, lets others run between them, and hears the signal there. */
export async function paint(
  request: WasmRequest,
  signal: AbortSignal | undefined,
  onEvent: OnEvent,
): Promise<WasmPainting> {
  const steps = request.steps ?? MODEL.defaults.steps;
  onEvent({ kind: 'encode', done: 1, total: 1 });
  for (let step = 1; step <= steps; step++) {
    await breathe();
    if (signal?.aborted) throw { code: 'aborted', message: 'stopped' };
    const preview = request.preview && { preview: { width: 2, height: 2, pixels: pixels(step) } };
    onEvent({ kind: 'denoise', step, steps, done: step, total: steps, ...preview });
  }
  onEvent({ kind: 'decode', done: 1, total: 1 });
  return painting(request);
}

export function painting(request: WasmRequest): WasmPainting {
  return { width: 2, height: 2, pixels: pixels(9), png: new Uint8Array([137, 80]), metadata: metadataOf(request) };
}

/** Waits for the signal, then stops as the module does. */
export function paintUntilAborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject({ code: 'aborted', message: 'stopped' }));
  });
}

/** Lets messages cross. */
export function breathe(milliseconds = 2): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export function textOf({ prompt }: WasmRequest): string {
  return prompt.map((part) => ('text' in part ? part.text : fileOf(part).file)).join(' ');
}

/** What the PNG says of an input. */
function fileOf(part: Exclude<WasmPart, { text: string }>): UsedFile {
  const [{ name, sha256 }] = Object.values(part) as [InputFile];
  return { file: name, sha256 };
}

function pixels(value: number): Uint8ClampedArray<ArrayBuffer> {
  return new Uint8ClampedArray(16).fill(value);
}

function metadataOf(request: WasmRequest): Metadata {
  return {
    format: 1,
    versions: { x2i: '0', burn: '0' },
    model: { name: 'fake', place: '', files: {} },
    prompt: request.prompt.map((part) =>
      'text' in part ? part : ({ [Object.keys(part)[0] as 'image']: fileOf(part) } as { image: UsedFile }),
    ),
    width: 2,
    height: 2,
    steps: request.steps ?? 4,
    guidance: 0,
    seed: request.seed,
    conditioning: 'prompt',
    sampler: 'euler',
    device: { id: 'cpu', name: 'CPU' },
  };
}

/** Node has none. */
class FakeImageData {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;

  constructor(data: Uint8ClampedArray, width: number, height: number) {
    this.data = data;
    this.width = width;
    this.height = height;
  }
}
Object.assign(globalThis, { ImageData: globalThis.ImageData ?? FakeImageData });
