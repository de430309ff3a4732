/**
 * The only error class of this package, and its codes.
 *
 * @module
 */

/**
 * The kind of a failure, for programs.
 *
 * | code | meaning |
 * |---|---|
 * | `aborted` | the caller's signal was aborted; `cause` is its reason |
 * | `audio` | an audio part of the prompt can't be read, or the microphone can't be used |
 * | `cache-unavailable` | a cached model is being downloaded, or the browser can no longer read its storage |
 * | `closed` | {@link Pipeline.close} was called |
 * | `config` | an option, a URL or a `model.json` is wrong, or the worker could not start |
 * | `device-limit` | the adapter is too small; the message names the limit and its value |
 * | `device-lost` | the browser lost the device; the next call opens a new one |
 * | `device-unavailable` | there is no such device |
 * | `format` | a weight file is broken |
 * | `image` | an image part of the prompt can't be read |
 * | `integrity` | a file's SHA-256 differs; the message names the file |
 * | `internal` | a bug; the next call starts a new worker |
 * | `lora` | a LoRA does not fit the model; the message names every key that matches nothing |
 * | `missing-file` | the model lacks a file |
 * | `missing-tensor` | a weight file lacks a tensor |
 * | `modality` | the model can't read this kind of input |
 * | `network` | a download failed |
 * | `quota` | the browser gives no more storage or memory |
 * | `request` | a value of the request is wrong: a size, a seed, too many steps |
 * | `shape` | a tensor's shape differs from the model's |
 * | `video` | a video part of the prompt can't be read |
 */
export type X2iErrorCode =
  | 'aborted'
  | 'audio'
  | 'cache-unavailable'
  | 'closed'
  | 'config'
  | 'device-limit'
  | 'device-lost'
  | 'device-unavailable'
  | 'format'
  | 'image'
  | 'integrity'
  | 'internal'
  | 'lora'
  | 'missing-file'
  | 'missing-tensor'
  | 'modality'
  | 'network'
  | 'quota'
  | 'request'
  | 'shape'
  | 'video';

/** The codes at run time; as a record, so that the compiler demands all of them. */
const CODES: Record<X2iErrorCode, true> = {
  aborted: true,
  audio: true,
  'cache-unavailable': true,
  closed: true,
  config: true,
  'device-limit': true,
  'device-lost': true,
  'device-unavailable': true,
  format: true,
  image: true,
  integrity: true,
  internal: true,
  lora: true,
  'missing-file': true,
  'missing-tensor': true,
  modality: true,
  network: true,
  quota: true,
  request: true,
  shape: true,
  video: true,
};

/** Every failure of this package. */
export class X2iError extends Error {
  override readonly name = 'X2iError';
  /** The kind of the failure, for programs. */
  readonly code: X2iErrorCode;

  constructor(code: X2iErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The error for an aborted signal. */
export function abortedBy(signal: AbortSignal): X2iError {
  return new X2iError('aborted', 'stopped by the caller', { cause: signal.reason });
}

/** True for failures after which the WebAssembly instance must not be used again. */
export function isFatal(error: X2iError): boolean {
  return error.code === 'device-lost' || error.code === 'internal';
}

/** Converts anything thrown, here or in the module, to an {@link X2iError}; unknown errors are `internal`. */
export function toX2iError(thrown: unknown): X2iError {
  if (thrown instanceof X2iError) return thrown;
  const { code, message } = (thrown ?? {}) as { code?: unknown; message?: unknown };
  const known = typeof code === 'string' && Object.hasOwn(CODES, code);
  if (known) return new X2iError(code as X2iErrorCode, String(message));
  return new X2iError('internal', String(message ?? thrown), { cause: thrown });
}
