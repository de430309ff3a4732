// Reads and writes the sections of a WebAssembly module: https://webassembly.github.io/spec/core/binary/

export const CUSTOM = 0;
export const IMPORT = 2;
export const EXPORT = 7;
export const CODE = 10;
const FUNCTION = 0;
const TABLE = 1;
const MEMORY = 2;
const FUNCTION_NAMES = 1;

/** The hash of a crate in newer manglings: `core[c5930c85a12de822]::num`. */
const CRATE_HASH = /\[[0-9a-f]{16}\]/g;

export class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  byte() {
    return this.bytes[this.at++];
  }
  u32() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }
  slice(length) {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  sized() {
    return this.slice(this.u32());
  }
  /** The bounds of a table or memory, and where their flags are. */
  limits() {
    const at = this.at;
    const flags = this.byte();
    const initial = this.u32();
    return { at, shared: (flags & 2) !== 0, initial, maximum: flags & 1 ? this.u32() : undefined };
  }
}

export function u32(value) {
  const bytes = [];
  do {
    bytes.push((value % 128) | (value > 127 ? 0x80 : 0));
    value = Math.floor(value / 128);
  } while (value > 0);
  return Buffer.from(bytes);
}

/** The sections of the module, each as `{ id, content, start, whole }`; `start` is where its content is. */
export function sections(wasm) {
  const reader = new Reader(wasm, 8);
  const found = [];
  while (reader.at < wasm.length) {
    const from = reader.at;
    const id = reader.byte();
    const content = reader.sized();
    found.push({ id, content, start: reader.at - content.length, whole: wasm.subarray(from, reader.at) });
  }
  return found;
}

/** The module of these sections. */
export function assemble(wasm, parts) {
  return Buffer.concat([wasm.subarray(0, 8), ...parts]);
}

/** How many functions are imported, which come before the module's own, and the limits of an imported memory. */
export function imports({ content, start }) {
  const reader = new Reader(content);
  let functions = 0;
  let memory;
  for (let left = reader.u32(); left > 0; left--) {
    reader.sized();
    reader.sized();
    const kind = reader.byte();
    if (kind === FUNCTION) {
      functions++;
      reader.u32();
    } else if (kind === TABLE) {
      reader.byte();
      reader.limits();
    } else if (kind === MEMORY) {
      memory = reader.limits();
      memory.at += start;
    } else reader.slice(2);
  }
  return { functions, memory };
}

/** The index of an exported function; undefined if there is none of that name. */
export function exportedFunction({ content }, wanted) {
  const reader = new Reader(content);
  for (let left = reader.u32(); left > 0; left--) {
    const name = reader.sized().toString();
    const kind = reader.byte();
    const index = reader.u32();
    if (kind === FUNCTION && name === wanted) return index;
  }
  return undefined;
}

/** The names of the module's functions by their index. */
export function functionNames(sections) {
  for (const { id, content } of sections) {
    const reader = new Reader(content);
    if (id !== CUSTOM || reader.sized().toString() !== 'name') continue;
    while (reader.at < content.length) {
      const kind = reader.byte();
      const names = new Reader(reader.sized());
      if (kind !== FUNCTION_NAMES) continue;
      const entry = () => [names.u32(), names.sized().toString().replace(CRATE_HASH, '')];
      return new Map(Array.from({ length: names.u32() }, entry));
    }
  }
  throw new Error('the module has no names: keep the name section until here');
}

/** The bodies of the module's own functions, with their length in front, and where each is in the section. */
export function bodies(content) {
  const reader = new Reader(content);
  return Array.from({ length: reader.u32() }, () => {
    const from = reader.at;
    const body = reader.sized();
    return { start: reader.at - body.length, body, whole: content.subarray(from, reader.at) };
  });
}
