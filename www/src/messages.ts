/**
 * The messages between a client and a host: calls with ids one way; events and one answer per call the other.
 *
 * A host in a worker and a host on the page's thread have the same interface. Pixels move by transfer; no message holds
 * a tensor.
 *
 * @module
 */

import type { ErrorObject, ModelReference, WasmEvent, WasmPainting, WasmSettings } from './contract.js';
import type { SentNetwork } from './network.js';
import type { SentImage } from './sources.js';
import type {
  CachedModel,
  DeviceChoice,
  DeviceInfo,
  Metadata,
  ModelDescription,
  ModelInfo,
  Painting,
} from './types.js';

/**
 * One part of a prompt in a message. The host decodes images; the page decodes videos and audio, since workers lack the
 * means.
 */
export type SentPart = { text: string } | { image: SentImage } | { video: SentVideo } | { audio: SentAudio };

/** The sampled frames of a video, and the file that they come from. */
export interface SentVideo {
  file?: Blob;
  frames: SentImage[];
  fps?: number;
}

/** One channel of audio, and the file that it comes from. */
export interface SentAudio {
  file?: Blob;
  samples: Float32Array;
  sampleRate: number;
}

/** A request for one image. */
export interface SentRequest {
  prompt: SentPart[];
  turns: Array<{ prompt: SentPart[]; answer: string }>;
  init?: { image: SentImage; strength: number };
  control?: { image: SentImage; scale: number };
  settings: WasmSettings;
}

/** A model, and its adapters. */
export interface SentModel {
  model: ModelReference;
  network?: SentNetwork;
  cache: 'auto' | 'none';
  /** In bytes. */
  maxDeviceMemory?: number;
  evict?: boolean;
  verify?: boolean;
  loras: Array<{ data: Blob; config?: Blob; scale: number }>;
  control?: Blob;
}

/** A finished image, and the time of its phases. */
export interface Painted extends WasmPainting {
  timings: Painting['timings'];
}

/** All calls, with their parameters and answers. */
export interface Calls {
  /** Always the first call. */
  start: { params: { wasmUrl?: string }; answer: undefined };
  open: { params: { device: DeviceChoice }; answer: DeviceInfo };
  load: { params: SentModel; answer: ModelInfo };
  chooseFrames: { params: { frames: number; fps: number; wanted: number | undefined }; answer: Uint32Array };
  generate: { params: SentRequest; answer: Painted };
  listDevices: { params: undefined; answer: DeviceInfo[] };
  describeModel: { params: { model: ModelReference; network?: SentNetwork }; answer: ModelDescription };
  cachedModels: { params: undefined; answer: CachedModel[] };
  deleteCachedModel: { params: { name: string }; answer: undefined };
  readMetadata: { params: { png: Blob }; answer: Metadata | undefined };
}

export type CallName = keyof Calls;

/** A call with its name and parameters. */
export type Call = { [K in CallName]: { id: number; call: K; params: Calls[K]['params'] } }[CallName];

/** A message to the host. */
export type ToHost = Call | { id: number; call: 'abort' };

/** A message from the host; `crashed` ends all calls. */
export type FromHost =
  | { id: number; event: WasmEvent }
  | { id: number; answer: Calls[CallName]['answer'] }
  | { id: number; error: ErrorObject }
  | { crashed: ErrorObject };
