/**
 * What the WebAssembly module takes and gives. The other side of it is the Rust crate `x2i-web`.
 *
 * It leaves out how the module is loaded (`wasm.ts`) and what crosses to the worker (`messages.ts`).
 *
 * @module
 */

import type { CachedModel, DeviceChoice, DeviceInfo, Metadata, ModelDescription, ModelInfo, Warning } from './types.js';

/** A model's name in the cache, and where its files are: under one folder, or each by its URL. */
export interface ModelReference {
  name: string;
  /** Ends in `/`. */
  base?: string;
  files?: Record<string, string>;
}

/** What the module throws. */
export interface ErrorObject {
  code: string;
  message: string;
}

/** A picture as pixels, RGBA. */
export interface Pixels {
  width: number;
  height: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** What a PNG says of an input. */
export interface InputFile {
  name: string;
  sha256: string;
}

/** A picture in a prompt. */
export interface InputImage extends InputFile, Pixels {}

/** A video in a prompt; without `fps` the model's own rate is meant. */
export interface InputVideo extends InputFile {
  frames: Pixels[];
  fps?: number;
}

/** A sound in a prompt: one channel, which the module resamples. */
export interface InputAudio extends InputFile {
  samples: Float32Array;
  sampleRate: number;
}

/** Weights that stand beside the model. */
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

/** What is asked for, but for all that is shown. */
export interface WasmSettings {
  seed: bigint | number;
  width?: number;
  height?: number;
  steps?: number;
  guidance?: number;
  conditioning?: 'prompt' | 'answer';
  videoFps?: number;
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
  loras: Array<InputWeights & { scale: number }>;
  control?: InputWeights;
}

export interface WasmPainting extends Pixels {
  png: Uint8Array<ArrayBuffer>;
  metadata: Metadata;
  answer?: string;
}

/** Holds one device and at most one model. */
export interface Session {
  device(): DeviceInfo;
  load(
    model: ModelReference,
    options: LoadOptions,
    signal: AbortSignal | undefined,
    onEvent: (event: WasmEvent) => void,
  ): Promise<ModelInfo>;
  /** Which of so many frames the model looks at, at its own rate or at `wanted` frames a second. */
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
  default(options?: { module_or_path?: string | URL }): Promise<unknown>;
  Session: { open(device: DeviceChoice): Promise<Session> };
  listDevices(): Promise<DeviceInfo[]>;
  describeModel(model: ModelReference): Promise<ModelDescription>;
  cachedModels(): Promise<CachedModel[]>;
  deleteCachedModel(name: string): Promise<void>;
  readMetadata(png: Uint8Array): Metadata | undefined;
  /** Tells of a panic, after which no promise of the module need ever settle. */
  onPanic(handler: (message: string) => void): void;
}
