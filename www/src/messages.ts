/**
 * What a client and a host say to each other: calls with ids one way; events and one answer per call the other.
 *
 * A host is the same in a worker and on the page's thread, so these types are the one interface of both. Pixels move
 * by transfer; nothing here is ever a tensor.
 *
 * @module
 */

import type { ErrorObject, ModelReference, WasmEvent, WasmPainting, WasmSettings } from './contract.js';
import type {
  CachedModel,
  DeviceChoice,
  DeviceInfo,
  ImageSource,
  Metadata,
  ModelDescription,
  ModelInfo,
  Painting,
} from './types.js';

/**
 * One part of a prompt as it crosses: the host reads pictures, so that the page need not; videos and sounds are decoded
 * where there are the means for it, on the page.
 */
export type SentPart = { text: string } | { image: ImageSource } | { video: SentVideo } | { audio: SentAudio };

/** Frames that are looked at, and the file that they come from. */
export interface SentVideo {
  file?: Blob;
  frames: ImageSource[];
  fps?: number;
}

/** One channel, and the file that it comes from. */
export interface SentAudio {
  file?: Blob;
  samples: Float32Array;
  sampleRate: number;
}

/** What one picture is made of. */
export interface SentRequest {
  prompt: SentPart[];
  turns: Array<{ prompt: SentPart[]; answer: string }>;
  init?: { image: ImageSource; strength: number };
  control?: { image: ImageSource; scale: number };
  settings: WasmSettings;
}

/** A model, and the weights that stand beside it. */
export interface SentModel {
  model: ModelReference;
  cache: 'auto' | 'none';
  loras: Array<{ data: Blob; scale: number }>;
  control?: Blob;
}

/** A finished picture, and how long its phases took. */
export interface Painted extends WasmPainting {
  timings: Painting['timings'];
}

/** Every call: what it takes, and what it answers. */
export interface Calls {
  /** The first call of all. */
  start: { params: { wasmUrl?: string }; answer: undefined };
  open: { params: { device: DeviceChoice }; answer: DeviceInfo };
  load: { params: SentModel; answer: ModelInfo };
  chooseFrames: { params: { frames: number; fps: number; wanted: number | undefined }; answer: Uint32Array };
  generate: { params: SentRequest; answer: Painted };
  listDevices: { params: undefined; answer: DeviceInfo[] };
  describeModel: { params: { model: ModelReference }; answer: ModelDescription };
  cachedModels: { params: undefined; answer: CachedModel[] };
  deleteCachedModel: { params: { name: string }; answer: undefined };
  readMetadata: { params: { png: Blob }; answer: Metadata | undefined };
}

export type CallName = keyof Calls;

/** A call with its name and parameters. */
export type Call = { [K in CallName]: { id: number; call: K; params: Calls[K]['params'] } }[CallName];

/** To the host. */
export type ToHost = Call | { id: number; call: 'abort' };

/** From the host; `crashed` ends all calls. */
export type FromHost =
  | { id: number; event: WasmEvent }
  | { id: number; answer: Calls[CallName]['answer'] }
  | { id: number; error: ErrorObject }
  | { crashed: ErrorObject };
