/**
 * Calls a host, and gives each caller its answer.
 *
 * A client ends at its first fatal failure: pending calls are rejected, the worker is terminated, and
 * {@link Client.failure} has the reason. The pipeline starts the next client.
 *
 * @module
 */

import type { Channel } from './channel.js';
import type { WasmEvent } from './contract.js';
import { isFatal, toX2iError, X2iError } from './errors.js';
import type { Call, CallName, Calls, FromHost } from './messages.js';

/** Options of a call. */
export interface CallOptions {
  /** Makes the host stop; the call rejects when the host has stopped. */
  signal?: AbortSignal | undefined;
  /** Objects that move to the host instead of being copied. */
  transfer?: Transferable[];
  onEvent?: (event: WasmEvent) => void;
}

interface Pending {
  resolve: (answer: never) => void;
  reject: (error: X2iError) => void;
  onEvent: CallOptions['onEvent'];
}

export class Client {
  readonly #channel: Channel;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #failure: X2iError | undefined;

  constructor(channel: Channel, wasmUrl: string | undefined) {
    this.#channel = channel;
    channel.onMessage = (message) => this.#hear(message);
    channel.onFailure = (error) => this.close(error);
    // A failure ends the client, which rejects its calls.
    this.call('start', wasmUrl === undefined ? {} : { wasmUrl }).catch((error: X2iError) => this.close(error));
  }

  /** The failure that ended the client; undefined while it accepts calls. */
  get failure(): X2iError | undefined {
    return this.#failure;
  }

  /** Calls the host. Rejects with an {@link X2iError}. */
  call<K extends CallName>(
    call: K,
    params: Calls[K]['params'],
    { signal, transfer, onEvent }: CallOptions = {},
  ): Promise<Calls[K]['answer']> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = ++this.#lastId;
    const answered = new Promise<Calls[K]['answer']>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onEvent });
    });
    const abort = (): void => this.#channel.post({ id, call: 'abort' });
    signal?.addEventListener('abort', abort, { once: true });
    try {
      this.#channel.post({ id, call, params } as Call, transfer);
    } catch (cause) {
      // Parameters that can't be cloned were not sent.
      const error = new X2iError('request', `can't be sent to the worker: ${cause}`, { cause });
      this.#take(id)?.reject(error);
    }
    return answered.finally(() => signal?.removeEventListener('abort', abort));
  }

  /** Rejects all pending calls with `error`, and ends the host. */
  close(error: X2iError): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#channel.close();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #hear(message: FromHost): void {
    if ('crashed' in message) {
      this.close(toX2iError(message.crashed));
    } else if ('event' in message) {
      this.#pending.get(message.id)?.onEvent?.(message.event);
    } else if ('answer' in message) {
      this.#take(message.id)?.resolve(message.answer as never);
    } else {
      const error = toX2iError(message.error);
      this.#take(message.id)?.reject(error);
      if (isFatal(error)) this.close(error);
    }
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }
}
