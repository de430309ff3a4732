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

/** One part of a prompt as it crosses; the host reads pictures, so that the page need not. */
export type SentPart = { text: string } | { image: ImageSource };

/** A finished picture, and how long its phases took. */
export interface Painted extends WasmPainting {
  timings: Painting['timings'];
}

/** Every call: what it takes, and what it answers. */
export interface Calls {
  /** The first call of all. */
  start: { params: { wasmUrl?: string }; answer: undefined };
  open: { params: { device: DeviceChoice }; answer: DeviceInfo };
  load: { params: { model: ModelReference; cache: 'auto' | 'none' }; answer: ModelInfo };
  generate: { params: { prompt: SentPart[]; settings: WasmSettings }; answer: Painted };
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
