/** Asks the server that gave the page; its refusals are the library's errors. */

import { X2iError, type X2iErrorCode } from '../../../src/errors.js';

interface Refusal {
  error?: { message: string; code: string; param: string | null };
}

/** The library's codes for what a parameter may be. */
const OF_PARAMS: Record<string, X2iErrorCode> = { image: 'image', init_image: 'image', video: 'video', audio: 'audio', loras: 'lora' };

/** An error of the server as one of the library. */
export function refusal(error: Refusal['error'], status = 500): X2iError {
  const message = error?.message ?? `the server answers ${status}`;
  if (error?.param) return new X2iError(OF_PARAMS[error.param] ?? 'request', message);
  if (status === 429 || status === 503) return new X2iError('device-unavailable', message);
  return new X2iError(status >= 500 ? 'internal' : 'request', message);
}

/** Any answer, a refusal too. */
export async function reach(path: string, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch (cause) {
    if (init?.signal?.aborted) throw cause;
    throw new X2iError('network', 'the server does not answer', { cause });
  }
}

/** An answer that is no refusal. */
export async function ask(path: string, init?: RequestInit): Promise<Response> {
  const response = await reach(path, init);
  if (response.ok) return response;
  const { error } = (await response.json().catch(() => ({}))) as Refusal;
  throw refusal(error, response.status);
}

/** The JSON of an answer. */
export async function askJson<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await ask(path, init)).json()) as T;
}

/** An event of a stream. */
export interface ServerEvent {
  name: string;
  data: unknown;
}

/** Server-sent events; comments, which keep the connection, are left out. */
export async function* events(path: string, signal: AbortSignal): AsyncGenerator<ServerEvent, void, undefined> {
  const { body } = await ask(path, { signal });
  if (body === null) return;
  let text = '';
  for await (const chunk of chunks(body.pipeThrough(new TextDecoderStream()))) {
    text += chunk;
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const lines = block.split('\n');
      const field = (name: string) => lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length).trim()).join('\n');
      const data = field('data:');
      if (data !== '') yield { name: field('event:'), data: JSON.parse(data) };
    }
  }
}

/** Not every browser iterates over a stream. */
async function* chunks(stream: ReadableStream<string>): AsyncGenerator<string, void, undefined> {
  const reader = stream.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
}
