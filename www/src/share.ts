/**
 * One host for all tabs of an origin that ask for the same model.
 *
 * The tab that holds a Web Lock has the worker and answers the others over `BroadcastChannel`s. All others wait for the
 * lock, so that the next one takes over when that tab closes: it loads the model, and every tab sends again what has not
 * been answered. Each tab also holds a lock of its own, whose release tells the owner that the tab is gone.
 *
 * Calls are repeated safely, since a request with its seed gives one image. A `SharedWorker` would not do: it has neither
 * synchronous access to the private file system nor workers of its own.
 *
 * @module
 */

import type { Channel } from './channel.js';
import type { Client } from './client.js';
import type { WasmEvent } from './contract.js';
import { toX2iError, X2iError } from './errors.js';
import type { Call, FromHost, SentModel, ToHost } from './messages.js';
import type { DeviceChoice } from './types.js';

/** What the tabs share. */
export interface Setup {
  /** The name of the locks and channels; tabs with another one have another host. */
  key: string;
  device: DeviceChoice;
  sent: SentModel;
  /** Starts the worker, in the tab that owns it. */
  start: () => Client;
}

/** On the channel of all tabs: a tab that looks for the owner, or an owner that has just become it. */
type Common = { hello: string } | { owner: string };

/** On the channel of one tab and the owner. */
type FromOwner = { here: string } | FromHost;

/** One tab's channel to the host, wherever that is. */
export class SharedChannel implements Channel {
  onMessage: Channel['onMessage'] = () => {};
  onFailure: Channel['onFailure'] = () => {};
  readonly #setup: Setup;
  readonly #tab = identity();
  readonly #life = new AbortController();
  readonly #common: BroadcastChannel;
  readonly #pair: BroadcastChannel;
  readonly #unanswered = new Map<number, Call>();
  /** The owner that this tab talks to. */
  #owner: string | undefined;
  /** The host itself, in the tab that owns it. */
  #host: SharedHost | undefined;

  constructor(setup: Setup) {
    this.#setup = setup;
    this.#common = new BroadcastChannel(setup.key);
    this.#pair = new BroadcastChannel(pairName(setup.key, this.#tab));
    this.#common.onmessage = ({ data }: MessageEvent<Common>) => {
      if ('hello' in data) this.#host?.meet(data.hello);
      else this.#greet();
    };
    this.#pair.onmessage = ({ data }: MessageEvent<FromOwner>) => {
      if ('here' in data) this.#join(data.here);
      else this.#hear(data);
    };
    hold(pairName(setup.key, this.#tab), this.#life.signal, () => this.#greet());
    hold(`${setup.key} owner`, this.#life.signal, () => this.#own());
  }

  post(message: ToHost): void {
    if (message.call === 'start') {
      queueMicrotask(() => this.onMessage({ id: message.id, answer: undefined }));
      return;
    }
    if (message.call !== 'abort') this.#unanswered.set(message.id, message);
    else if (!this.#host && !this.#owner) {
      this.#hear({ id: message.id, error: { code: 'aborted', message: 'stopped before it began' } });
      return;
    }
    this.#send(message);
  }

  close(): void {
    this.#life.abort();
    this.#host?.close();
    this.#common.close();
    this.#pair.close();
  }

  /** Tells the owner, if there is one, that this tab is here. */
  #greet(): void {
    if (!this.#host && !this.#life.signal.aborted) this.#common.postMessage({ hello: this.#tab } satisfies Common);
  }

  #join(owner: string): void {
    if (this.#owner === owner || this.#host) return;
    this.#owner = owner;
    for (const call of this.#unanswered.values()) this.#send(call);
  }

  #own(): void {
    this.#owner = this.#tab;
    this.#host = new SharedHost(this.#setup, this.#tab);
    this.#common.postMessage({ owner: this.#tab } satisfies Common);
    for (const call of this.#unanswered.values()) this.#send(call);
  }

  #send(message: ToHost): void {
    if (this.#host) this.#host.receive(this.#tab, message, (answer) => queueMicrotask(() => this.#hear(answer)));
    else if (this.#owner) this.#pair.postMessage(message);
  }

  #hear(message: FromHost): void {
    if (this.#life.signal.aborted) return;
    if ('answer' in message || 'error' in message) {
      // An owner that came and went may have answered the same call.
      if (!this.#unanswered.delete(message.id)) return;
    }
    this.onMessage(message);
  }
}

/** The worker of the tab that owns it, and the calls of all tabs. */
class SharedHost {
  readonly #setup: Setup;
  readonly #id: string;
  readonly #tabs = new Map<string, BroadcastChannel>();
  readonly #running = new Map<string, AbortController>();
  readonly #loading = new Set<(event: WasmEvent) => void>();
  readonly #life = new AbortController();
  #last: Promise<unknown> = Promise.resolve();
  #started: Started | undefined;

  constructor(setup: Setup, id: string) {
    this.#setup = setup;
    this.#id = id;
  }

  /** Begins to listen to a tab. */
  meet(tab: string): void {
    let channel = this.#tabs.get(tab);
    if (!channel) {
      const opened = new BroadcastChannel(pairName(this.#setup.key, tab));
      opened.onmessage = ({ data }: MessageEvent<ToHost>) =>
        this.receive(tab, data, (answer) => opened.postMessage(answer));
      this.#tabs.set(tab, opened);
      hold(pairName(this.#setup.key, tab), this.#life.signal, () => this.#forget(tab), 'once');
      channel = opened;
    }
    channel.postMessage({ here: this.#id } satisfies FromOwner);
  }

  receive(tab: string, message: ToHost, reply: (message: FromHost) => void): void {
    const name = `${tab} ${message.id}`;
    if (message.call === 'abort') this.#running.get(name)?.abort();
    else void this.#answer(name, message, (answer) => this.#life.signal.aborted || reply(answer));
  }

  close(): void {
    // Nothing is answered from here on: the next owner repeats what other tabs wait for.
    this.#life.abort();
    for (const controller of this.#running.values()) controller.abort();
    this.#started?.client.close(new X2iError('closed', 'the pipeline is closed'));
    for (const channel of this.#tabs.values()) channel.close();
  }

  async #answer(name: string, message: Call, reply: (message: FromHost) => void): Promise<void> {
    const { id } = message;
    const controller = new AbortController();
    this.#running.set(name, controller);
    const onEvent = (event: WasmEvent): void => reply({ id, event });
    try {
      reply({ id, answer: await this.#call(message, controller.signal, onEvent) });
    } catch (thrown) {
      const { code, message } = toX2iError(thrown);
      reply({ id, error: { code, message } });
    } finally {
      this.#running.delete(name);
    }
  }

  async #call(message: Call, signal: AbortSignal, onEvent: (event: WasmEvent) => void): Promise<never> {
    const answer = async () => {
      switch (message.call) {
        case 'open':
          return this.#ready().device;
        case 'load':
          return this.#load(onEvent);
        case 'generate':
          return this.#inTurn(async () => {
            signal.throwIfAborted();
            const { client, model } = this.#ready();
            await model;
            return client.call('generate', message.params, { signal, onEvent });
          }).catch((thrown) => {
            throw signal.aborted ? new X2iError('aborted', 'stopped by the caller') : thrown;
          });
        case 'chooseFrames': {
          const { client, model } = this.#ready();
          await model;
          return client.call('chooseFrames', message.params);
        }
        default:
          throw new X2iError('internal', `a shared pipeline has no ${message.call}`);
      }
    };
    return (await answer()) as never;
  }

  async #load(onEvent: (event: WasmEvent) => void): Promise<unknown> {
    this.#loading.add(onEvent);
    try {
      return await this.#ready().model;
    } finally {
      this.#loading.delete(onEvent);
    }
  }

  /** One image after another, of all tabs. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** The worker with its model, or a new one if it has failed. */
  #ready(): Started {
    if (this.#started && !this.#started.client.failure) return this.#started;
    const { device, sent, start } = this.#setup;
    const client = start();
    const opened = client.call('open', { device });
    const onEvent = (event: WasmEvent): void => {
      for (const listener of this.#loading) listener(event);
    };
    const model = opened.then(() => client.call('load', sent, { onEvent }));
    model.catch((error: X2iError) => client.close(error));
    this.#started = { client, device: opened, model };
    return this.#started;
  }

  /** Stops the calls of a tab that is gone. */
  #forget(tab: string): void {
    this.#tabs.get(tab)?.close();
    this.#tabs.delete(tab);
    for (const [name, controller] of this.#running) if (name.startsWith(`${tab} `)) controller.abort();
  }
}

interface Started {
  client: Client;
  device: Promise<unknown>;
  model: Promise<unknown>;
}

/** Waits for a lock, and holds it until the signal is aborted, or only `once` for a moment. */
function hold(name: string, signal: AbortSignal, onHeld: () => void, how: 'long' | 'once' = 'long'): void {
  const held = (): Promise<void> | undefined => {
    if (signal.aborted) return undefined;
    onHeld();
    if (how === 'once') return undefined;
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  };
  navigator.locks.request(name, { signal }, held).catch(() => {
    // A sandboxed page has no locks, and no other tab to share with.
    if (!signal.aborted && how === 'long') onHeld();
  });
}

function pairName(key: string, tab: string): string {
  return `${key} ${tab}`;
}

/** A random name. */
function identity(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join('-');
}
