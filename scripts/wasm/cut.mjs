// Removes functions from a WebAssembly module by name that no run of it can reach.
//
//   node scripts/cut-wasm.mjs IN.wasm LIST OUT.wasm
//
// A linker keeps functions that a table or an unused arm of a `match` refers to. LIST has one regular
// expression per line for demangled names, below a comment (#) with the reason. Matching functions get the body
// `unreachable`. wasm-opt then drops their callees, and a mistake is a trap instead of a wrong image. A line
// that matches nothing is an error, since the list is then out of date. Needs the name section.

import { readFileSync, writeFileSync } from 'node:fs';

const CUSTOM = 0;
const IMPORT = 2;
const CODE = 10;
const FUNCTION_NAMES = 1;
/** The new body: its length, no locals, `unreachable`, `end`. */
const UNREACHABLE = Buffer.from([3, 0x00, 0x00, 0x0b]);

/** The hash of a crate in newer manglings: `core[c5930c85a12de822]::num`. */
const CRATE_HASH = /\[[0-9a-f]{16}\]/g;

/** Reads the binary format: https://webassembly.github.io/spec/core/binary/ */
class Reader {
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
  limits() {
    if (this.byte() & 1) this.u32();
    this.u32();
  }
}

function u32(value) {
  const bytes = [];
  do {
    bytes.push((value % 128) | (value > 127 ? 0x80 : 0));
    value = Math.floor(value / 128);
  } while (value > 0);
  return Buffer.from(bytes);
}

/** The sections of the module, each as `{ id, content, whole }`. */
function sections(wasm) {
  const reader = new Reader(wasm, 8);
  const found = [];
  while (reader.at < wasm.length) {
    const start = reader.at;
    const id = reader.byte();
    const content = reader.sized();
    found.push({ id, content, whole: wasm.subarray(start, reader.at) });
  }
  return found;
}

/** The number of imported functions, which come before the module's own. */
function importedFunctions(content) {
  const reader = new Reader(content);
  let functions = 0;
  for (let left = reader.u32(); left > 0; left--) {
    reader.sized();
    reader.sized();
    const kind = reader.byte();
    if (kind === 0) {
      functions++;
      reader.u32();
    } else if (kind === 1) {
      reader.byte();
      reader.limits();
    } else if (kind === 2) reader.limits();
    else reader.slice(2);
  }
  return functions;
}

function functionNames(sections) {
  for (const { id, content } of sections) {
    const reader = new Reader(content);
    if (id !== CUSTOM || reader.sized().toString() !== 'name') continue;
    while (reader.at < content.length) {
      const kind = reader.byte();
      const names = new Reader(reader.sized());
      if (kind !== FUNCTION_NAMES) continue;
      return new Map(Array.from({ length: names.u32() }, () => [names.u32(), names.sized().toString().replace(CRATE_HASH, '')]));
    }
  }
  throw new Error('the module has no names: keep the name section until here');
}

function readList(path) {
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.filter((line) => line && !line.startsWith('#')).map((line) => ({ expression: new RegExp(line), functions: 0, bytes: 0 }));
}

function cutBodies(content, nameOf, list) {
  const reader = new Reader(content);
  const count = reader.u32();
  const bodies = [u32(count)];
  for (let index = 0; index < count; index++) {
    const start = reader.at;
    reader.sized();
    const body = content.subarray(start, reader.at);
    const cut = list.find(({ expression }) => expression.test(nameOf(index)));
    if (cut) {
      cut.functions++;
      cut.bytes += body.length;
    }
    bodies.push(cut ? UNREACHABLE : body);
  }
  return Buffer.concat(bodies);
}

const [input, listPath, output] = process.argv.slice(2);
const wasm = readFileSync(input);
const all = sections(wasm);
const imported = importedFunctions(all.find(({ id }) => id === IMPORT).content);
const names = functionNames(all);
const list = readList(listPath);
const parts = all.map(({ id, content, whole }) => {
  if (id !== CODE) return whole;
  const code = cutBodies(content, (index) => names.get(imported + index) ?? '', list);
  return Buffer.concat([Buffer.from([CODE]), u32(code.length), code]);
});
writeFileSync(output, Buffer.concat([wasm.subarray(0, 8), ...parts]));

for (const { expression, functions, bytes } of list) {
  console.log(`cut ${functions} functions, ${bytes} bytes: ${expression.source}`);
}
const outdated = list.filter(({ functions }) => functions === 0);
if (outdated.length > 0) {
  throw new Error(`${listPath}: no function's name matches ${outdated.map(({ expression }) => expression.source).join(', ')}`);
}
