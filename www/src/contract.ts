/**
 * The interface of the WebAssembly module, which the Rust crate `x2i-web` implements.
 *
 * Not here: the loading of the module (`wasm.ts`) and the messages to the worker (`messages.ts`).
 *
 * @module
 */

import type {
  Alternative,
  CachedModel,
  DeviceChoice,
  DeviceInfo,
  Metadata,
  ModelDescription,
  ModelInfo,
  Warning,
} from './types.js';

/** A model's name in the cache, and the location of its files: one folder, or one URL per file. */
export interface ModelReference {
  name: string;
  /** Ends in `/`. */
  base?: string;
  files?: Record<string, string>;
}

/**
 * Requests a file, or a range of it (`bytes=0-99`); `fresh` asks the server whether a cached answer is still right. It
 * rejects with the code and the sentence of the failure, and resolves to a response of status 200 or 206.
 */
export type FetchFile = (
  url: string,
  options: { range?: string | undefined; fresh?: boolean; signal?: AbortSignal | undefined },
) => Promise<Response>;

/** A model, and the way to its files. */
export interface ReachableModel extends ModelReference {
  fetch: FetchFile;
}

/** An error that the module throws. */
export interface ErrorObject {
  code: string;
  message: string;
}

/** An image as RGBA pixels. */
export interface Pixels {
  width: number;
  height: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** The record of an input, for the metadata. */
export interface InputFile {
  name: string;
  sha256: string;
}

/** An image in a prompt. */
export interface InputImage extends InputFile, Pixels {}

/** A video in a prompt; `fps` defaults to the model's rate. */
export interface InputVideo extends InputFile {
  frames: Pixels[];
  fps?: number;
}

/** Audio in a prompt: one channel, which the module resamples. */
export interface InputAudio extends InputFile {
  samples: Float32Array;
  sampleRate: number;
}

/** The weights of an adapter. */
export interface InputWeights extends InputFile {
  data: Blob;
}

export type WasmPart = { text: string } | { image: InputImage } | { video: InputVideo } | { audio: InputAudio };

export type WasmEvent =
  | { kind: 'download'; file: string; done: number; total: number; cached: boolean }
  | { kind: 'warning'; code: Warning['code']; message: string }
  | { kind: 'load'; done: number; total: number }
  | { kind: 'encode'; done: number; total: number; answer?: string }
  | { kind: 'decode'; done: number; total: number }
  | { kind: 'denoise'; step: number; steps: number; done: number; total: number; preview?: Pixels };

/** The settings of a request. */
export interface WasmSettings {
  seed: bigint | number;
  width?: number;
  height?: number;
  steps?: number;
  guidance?: number;
  cache?: 'off' | number;
  conditioning?: 'prompt' | 'answer';
  videoFps?: number;
  background?: string;
  preview: boolean;
}

export interface WasmRequest extends WasmSettings {
  prompt: WasmPart[];
  turns: Array<{ prompt: WasmPart[]; answer: string }>;
  init?: { image: InputImage; strength: number };
  control?: { image: InputImage; scale: number };
}

export interface LoadOptions {
  cache: 'auto' | 'none';
  /** In bytes. */
  maxDeviceMemory?: number;
  /** Other models may be removed from the cache to make room. */
  evict?: boolean;
  /** The cached files are hashed again. */
  verify?: boolean;
  /** `config` is PEFT's. */
  loras: Array<InputWeights & { config?: InputWeights; scale: number }>;
  control?: InputWeights;
}

export interface WasmPainting extends Pixels {
  png: Uint8Array<ArrayBuffer>;
  metadata: Metadata;
  answer?: string;
  certainty?: number;
  unknown?: string;
  alternatives?: Alternative[];
}

/** Holds one device and at most one model. */
export interface Session {
  device(): DeviceInfo;
  load(
    model: ReachableModel,
    options: LoadOptions,
    signal: AbortSignal | undefined,
    onEvent: (event: WasmEvent) => void,
  ): Promise<ModelInfo>;
  /** The indices of the frames that the LLM reads: at the model's rate, or at `wanted` frames per second. */
  chooseFrames(frames: number, fps: number, wanted: number | undefined): Uint32Array;
  generate(
    request: WasmRequest,
    signal: AbortSignal | undefined,
    onEvent: (event: WasmEvent) => void,
  ): Promise<WasmPainting>;
  free(): void;
}

/** The exports of `x2i_web.js`. */
export interface WasmModule {
  default(options?: { module_or_path?: WebAssembly.Module; memory?: WebAssembly.Memory }): Promise<unknown>;
  /** To be called before anything is computed, where the browser compiles relaxed SIMD. */
  tellRelaxedSimd(): void;
  /** Opens a pool of this thread and others, which are in {@link runThread}. */
  openThreads(workers: number): void;
  /** Gives the calling worker to the pool; it does not return. */
  runThread(): void;
  Session: { open(device: DeviceChoice): Promise<Session> };
  listDevices(): Promise<DeviceInfo[]>;
  describeModel(model: ReachableModel): Promise<ModelDescription>;
  cachedModels(): Promise<CachedModel[]>;
  deleteCachedModel(name: string): Promise<void>;
  readMetadata(png: Uint8Array): Metadata | undefined;
  /**
   * Sets the handler of panics (`internal`) and of full memory (`device-limit`). After one, promises of the module may
   * never settle.
   */
  onPanic(handler: (message: string, code: string) => void): void;
}
