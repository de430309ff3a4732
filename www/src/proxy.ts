/**
 * A `fetch` of the caller's, which stays on the caller's thread, for a host in a worker.
 *
 * Requests and chunks cross a port. A chunk is asked for before it is read, so that a slow reader slows the download and
 * not the memory. (Streams could cross themselves, but not in Safari.)
 *
 * @module
 */

/** What the host asks. */
type Question =
  | { id: number; ask: 'open'; url: string; headers: Array<[string, string]>; init: RequestInit }
  | { id: number; ask: 'chunk' | 'stop' };

/** What the caller's thread answers. */
type Answer =
  | { id: number; status: number; headers: Array<[string, string]>; hasBody: boolean }
  | { id: number; chunk: Uint8Array<ArrayBuffer> | undefined }
  | { id: number; failed: string };

interface Waiting {
  resolve: (answer: Answer) => void;
  reject: (error: Error) => void;
}

/** Answers requests by `fetch`, which runs here; the port goes to the host. */
export function serveFetch(fetch: typeof globalThis.fetch): { port: MessagePort; close: () => void } {
  const { port1, port2 } = new MessageChannel();
  const open = new Map<
    number,
    { stop: AbortController; reader?: ReadableStreamDefaultReader<Uint8Array> | undefined }
  >();
  const answer = async (question: Question): Promise<Answer | undefined> => {
    const { id } = question;
    if (question.ask === 'open') {
      const stop = new AbortController();
      const entry: { stop: AbortController; reader?: ReadableStreamDefaultReader<Uint8Array> | undefined } = { stop };
      open.set(id, entry);
      const headers = new Headers(question.headers);
      const response = await fetch(question.url, { ...question.init, headers, signal: stop.signal });
      entry.reader = response.body?.getReader();
      return { id, status: response.status, headers: [...response.headers], hasBody: entry.reader !== undefined };
    }
    const entry = open.get(id);
    if (question.ask === 'stop') {
      entry?.stop.abort();
      void entry?.reader?.cancel().catch(() => {});
      open.delete(id);
      return undefined;
    }
    const { value } = (await entry?.reader?.read()) ?? {};
    if (value === undefined) open.delete(id);
    // A view may be of a buffer that its owner still needs.
    return { id, chunk: value && new Uint8Array(value) };
  };
  port1.onmessage = ({ data }: MessageEvent<Question>) => {
    answer(data).then(
      (answered) => {
        if (answered) port1.postMessage(answered, 'chunk' in answered && answered.chunk ? [answered.chunk.buffer] : []);
      },
      (thrown: unknown) => {
        open.delete(data.id);
        port1.postMessage({ id: data.id, failed: (thrown as Error | undefined)?.message ?? String(thrown) });
      },
    );
  };
  const close = (): void => {
    for (const { stop } of open.values()) stop.abort();
    port1.close();
  };
  return { port: port2, close };
}

/** A `fetch` that asks the other side of the port. */
export function fetchThrough(port: MessagePort): typeof globalThis.fetch {
  const waiting = new Map<number, Waiting>();
  let lastId = 0;
  port.onmessage = ({ data }: MessageEvent<Answer>) => {
    const asked = waiting.get(data.id);
    waiting.delete(data.id);
    if ('failed' in data) asked?.reject(new Error(data.failed));
    else asked?.resolve(data);
  };
  const ask = (question: Question): Promise<Answer> =>
    new Promise((resolve, reject) => {
      waiting.set(question.id, { resolve, reject });
      port.postMessage(question);
    });
  return async (input, { headers, signal, ...init } = {}) => {
    const id = ++lastId;
    const url = String(input instanceof Request ? input.url : input);
    const stop = (): void => {
      port.postMessage({ id, ask: 'stop' } satisfies Question);
      waiting.get(id)?.reject(new DOMException('aborted', 'AbortError'));
      waiting.delete(id);
    };
    signal?.throwIfAborted();
    signal?.addEventListener('abort', stop, { once: true });
    const forget = (): void => signal?.removeEventListener('abort', stop);
    const opened = await ask({ id, ask: 'open', url, headers: [...new Headers(headers)], init }).catch((error) => {
      forget();
      throw error;
    });
    const { status, headers: told, hasBody } = opened as Extract<Answer, { status: number }>;
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      const { chunk } = (await ask({ id, ask: 'chunk' })) as { chunk?: Uint8Array };
      if (chunk) return controller.enqueue(chunk);
      forget();
      controller.close();
    };
    const cancel = (): void => {
      forget();
      stop();
    };
    const body = hasBody ? new ReadableStream<Uint8Array>({ pull, cancel }, { highWaterMark: 1 }) : null;
    return new Response(body, { status, headers: told });
  };
}
