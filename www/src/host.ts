/**
 * The host owns the WebAssembly module: it answers calls, forwards events, and stops aborted calls.
 *
 * It runs in the worker, or on the page's thread if a page can't have workers. Not here: queueing and restarting; after
 * a panic of the module, the client drops its host.
 *
 * @module
 */

import type { ReachableModel, Session, WasmEvent, WasmModule } from './contract.js';
import { toX2iError, X2iError } from './errors.js';
import { readRequest, readWeights } from './inputs.js';
import type { Call, CallName, Calls, FromHost, Painted, SentModel, ToHost } from './messages.js';
import { fetcher } from './network.js';

/** The initialized module, and how it gets more threads for the CPU; their number includes the caller's. */
export interface Loaded {
  wasm: WasmModule;
  openThreads: () => Promise<number>;
  /** What a panic's message means. */
  explain: (panic: string) => string;
}

/** Returns the initialized module. */
export type LoadWasm = (wasmUrl: string | undefined) => Promise<Loaded>;

/** Receives the messages of a host. */
export type Listener = (message: FromHost, transfer: Transferable[]) => void;

/** The context of a running call. */
interface Context {
  signal: AbortSignal;
  onEvent: (event: WasmEvent) => void;
}

type Handlers = {
  [K in CallName]: (params: Calls[K]['params'], context: Context) => Promise<Calls[K]['answer']>;
};

export class Host {
  readonly #loadWasm: LoadWasm;
  readonly #listener: Listener;
  readonly #running = new Map<number, AbortController>();
  #loaded: Promise<Loaded> | undefined;
  #pool: Promise<number> | undefined;
  #session: Session | undefined;
  #closed = false;

  constructor(loadWasm: LoadWasm, listener: Listener) {
    this.#loadWasm = loadWasm;
    this.#listener = listener;
  }

  /** Handles a message of the client. */
  receive(message: ToHost): void {
    if (message.call === 'abort') this.#running.get(message.id)?.abort();
    else void this.#answer(message);
  }

  /** Stops running calls, and frees the device when no call uses it. */
  close(): void {
    this.#closed = true;
    for (const controller of this.#running.values()) controller.abort();
    this.#freeIfUnused();
  }

  #freeIfUnused(): void {
    if (!this.#closed || this.#running.size > 0) return;
    this.#session?.free();
    this.#session = undefined;
  }

  async #answer({ id, call, params }: Call): Promise<void> {
    const controller = new AbortController();
    this.#running.set(id, controller);
    const onEvent = (event: WasmEvent): void => this.#listener({ id, event }, transfersOf(event));
    try {
      // The type `Call` pairs calls and parameters; TypeScript can't follow that through the table.
      const handler = this.#handlers[call] as (params: unknown, context: Context) => Promise<Calls[CallName]['answer']>;
      const answer = await handler(params, { signal: controller.signal, onEvent });
      this.#listener({ id, answer }, transfersOf(answer));
    } catch (thrown) {
      const { code, message } = toX2iError(thrown);
      this.#listener({ id, error: { code, message } }, []);
    } finally {
      this.#running.delete(id);
      this.#freeIfUnused();
    }
  }

  readonly #handlers: Handlers = {
    start: async ({ wasmUrl }) => {
      this.#loaded = this.#loadWasm(wasmUrl);
      const { wasm, explain } = await this.#loaded;
      wasm.onPanic((message, code) => this.#listener({ crashed: { code, message: explain(message) } }, []));
      return undefined;
    },
    open: async ({ device }) => {
      const { wasm, openThreads } = await this.#start();
      this.#session = await wasm.Session.open(device);
      const facts = this.#session.device();
      const threads = facts.kind === 'cpu' ? await this.#threads(openThreads) : 1;
      return { ...facts, threads };
    },
    load: async (sent, { signal, onEvent }) =>
      this.#opened().load(reachable(sent), { ...(await readWeights(sent)), ...wishes(sent) }, signal, onEvent),
    chooseFrames: async ({ frames, fps, wanted }) => this.#opened().chooseFrames(frames, fps, wanted),
    generate: async (sent, { signal, onEvent }) => {
      const request = await readRequest(sent);
      const watch = new Stopwatch();
      const painting = await this.#opened().generate(request, signal, (event) => {
        watch.hear(event);
        onEvent(event);
      });
      return { ...painting, timings: watch.timings() };
    },
    listDevices: async () => (await this.#module()).listDevices(),
    describeModel: async (sent) => (await this.#module()).describeModel(reachable(sent)),
    cachedModels: async () => (await this.#module()).cachedModels(),
    deleteCachedModel: async ({ name }) => {
      await (await this.#module()).deleteCachedModel(name);
      return undefined;
    },
    readMetadata: async ({ png }) => {
      const bytes = new Uint8Array(await png.arrayBuffer());
      return (await this.#module()).readMetadata(bytes);
    },
  };

  /** A module has one pool, for all of its sessions. */
  #threads(open: () => Promise<number>): Promise<number> {
    this.#pool ??= open();
    return this.#pool;
  }

  #start(): Promise<Loaded> {
    if (!this.#loaded) throw new X2iError('internal', 'a call came before `start`');
    return this.#loaded;
  }

  async #module(): Promise<WasmModule> {
    return (await this.#start()).wasm;
  }

  #opened(): Session {
    if (!this.#session) throw new X2iError('internal', 'a call came before `open`');
    return this.#session;
  }
}

function reachable({ model, network }: Calls['describeModel']['params']): ReachableModel {
  return { ...model, fetch: fetcher(model, network) };
}

function wishes({ evict, verify }: SentModel): Pick<SentModel, 'evict' | 'verify'> {
  return { ...(evict !== undefined && { evict }), ...(verify !== undefined && { verify }) };
}

/** Times the phases of one image: a phase lasts from its first event to the first event of the next. */
class Stopwatch {
  readonly #start = performance.now();
  #denoise: number | undefined;
  #decode: number | undefined;

  hear({ kind }: WasmEvent): void {
    if (kind === 'denoise') this.#denoise ??= performance.now();
    if (kind === 'decode') this.#decode ??= performance.now();
  }

  timings(): Painted['timings'] {
    const end = performance.now();
    const decode = this.#decode ?? end;
    const denoise = this.#denoise ?? decode;
    return { encode: denoise - this.#start, denoise: decode - denoise, decode: end - decode, total: end - this.#start };
  }
}

/** The buffers that can move to the client: those that one array covers completely, so never the module's memory. */
function transfersOf(value: unknown): Transferable[] {
  const { pixels, png, preview } = (value ?? {}) as Partial<Painted> & { preview?: { pixels: Uint8ClampedArray } };
  return [pixels, png, preview?.pixels]
    .filter((array) => array !== undefined)
    .filter((array) => array.byteLength === array.buffer.byteLength)
    .map((array) => array.buffer as ArrayBuffer);
}
