/**
 * One WebAssembly file for every browser: what is changed in it on its way to the compiler.
 *
 * The file has a memory that is not shared and functions in relaxed SIMD, as most pages take it. A page that is isolated
 * from other origins may share its memory with threads, which is a bit of the file. A browser without relaxed SIMD
 * compiles no module that has it, so that those functions' bodies are overwritten; none of them is called there.
 *
 * @module
 */

/** What `scripts/wasm/pack.mjs` says of the file. */
export interface Layout {
  /** Where the flags of the imported memory are, and its size in pages. */
  memory: { flag: number; initial: number; maximum: number };
  /** The bodies of functions that need relaxed SIMD: where each begins, and its length. */
  relaxed: Array<[number, number]>;
}

/** What a page can take. */
export interface Variant {
  relaxed: boolean;
  shared: boolean;
}

/** A function of `i8x16.relaxed_swizzle`. */
const RELAXED = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
]);
const SHARED = 2;
const WITH_MAXIMUM = 1;
const UNREACHABLE = 0x00;
const NOP = 0x01;
const END = 0x0b;

/** What this page can take. Threads need a worker, since a page's own thread may not wait. */
export function variantHere(): Variant {
  const isolated = globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer !== 'undefined';
  return { relaxed: WebAssembly.validate(RELAXED), shared: isolated && typeof document === 'undefined' };
}

/** A memory as the variant imports it. */
export function memoryOf({ memory: { initial, maximum } }: Layout, { shared }: Variant): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial, maximum, shared });
}

/** Downloads and compiles a variant, while it is downloaded where the browser can. */
export async function compile(url: string | URL, layout: Layout, variant: Variant): Promise<WebAssembly.Module> {
  const response = await fetch(url, { credentials: 'same-origin' });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const changes = changesFor(layout, variant);
  const typed = response.headers.get('content-type')?.startsWith('application/wasm');
  if (typed && changes.length === 0) return WebAssembly.compileStreaming(response);
  if (response.body === null || changes.length === 0) {
    const bytes = new Uint8Array(await response.arrayBuffer());
    change(bytes, 0, changes);
    return WebAssembly.compile(bytes);
  }
  const changed = response.body.pipeThrough(changing(changes));
  return WebAssembly.compileStreaming(new Response(changed, { headers: { 'content-type': 'application/wasm' } }));
}

/** New bytes at a place of the file. */
interface Change {
  at: number;
  bytes: Uint8Array;
}

function changesFor(layout: Layout, { relaxed, shared }: Variant): Change[] {
  const changes: Change[] = [];
  if (shared) changes.push({ at: layout.memory.flag, bytes: Uint8Array.of(SHARED | WITH_MAXIMUM) });
  if (!relaxed) for (const [at, length] of layout.relaxed) changes.push({ at, bytes: emptyBody(length) });
  return changes;
}

/** The body of a function without locals that traps, in `length` bytes. */
function emptyBody(length: number): Uint8Array {
  const body = new Uint8Array(length).fill(NOP);
  body[0] = 0;
  body[1] = UNREACHABLE;
  body[length - 1] = END;
  return body;
}

function changing(changes: Change[]): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  let at = 0;
  return new TransformStream({
    transform(chunk, controller) {
      change(chunk, at, changes);
      at += chunk.length;
      controller.enqueue(chunk);
    },
  });
}

/** Changes a piece of the file that begins at `start`. */
function change(piece: Uint8Array, start: number, changes: Change[]): void {
  for (const { at, bytes } of changes) {
    const from = Math.max(at, start);
    const to = Math.min(at + bytes.length, start + piece.length);
    if (from < to) piece.set(bytes.subarray(from - at, to - at), from - start);
  }
}
