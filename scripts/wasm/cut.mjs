// Removes functions from a WebAssembly module by name that no run of it is known to reach.
//
//   node scripts/wasm/cut.mjs IN.wasm LIST OUT.wasm
//
// A linker keeps functions that a table or an unused arm of a `match` refers to. LIST has one regular expression per line
// for demangled names, below a comment (#) with the reason. A matching function's body becomes a call of the module's
// `x2i_left_out` with the number of that line; wasm-opt then drops what only it called, and all functions of a line and a
// type are one. A mistake in the list is so an error that says which line it was, instead of a wrong image. A line that
// matches nothing is a warning: the function is gone from the module. Needs the name section.

import { readFileSync, writeFileSync } from 'node:fs';
import { assemble, bodies, CODE, EXPORT, exportedFunction, functionNames, IMPORT, imports, sections, u32 } from './module.mjs';

const HANDLER = 'x2i_left_out';

function readList(path) {
  const lines = readFileSync(path, 'utf8').split('\n');
  const rules = lines.map((line, index) => ({ line, number: index + 1 })).filter(({ line }) => line && !line.startsWith('#'));
  return rules.map(({ line, number }) => ({ expression: new RegExp(line), number, functions: 0, bytes: 0 }));
}

/** `i32.const` takes a signed number. */
function signed(value) {
  const bytes = [];
  for (; value > 63; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  return Buffer.from([...bytes, value]);
}

/** A body without locals: `call handler(line)`, `unreachable`. */
function leftOut(handler, line) {
  const call = Buffer.concat([Buffer.from([0x00, 0x41]), signed(line), Buffer.from([0x10]), u32(handler), Buffer.from([0x00, 0x0b])]);
  return Buffer.concat([u32(call.length), call]);
}

const [input, listPath, output] = process.argv.slice(2);
const wasm = readFileSync(input);
const all = sections(wasm);
const section = (wanted) => all.find(({ id }) => id === wanted);
const { functions: imported } = imports(section(IMPORT));
const handler = exportedFunction(section(EXPORT), HANDLER);
if (handler === undefined) throw new Error(`${input} has no ${HANDLER}`);
const names = functionNames(all);
const list = readList(listPath);

const own = bodies(section(CODE).content).map(({ body, whole }, index) => {
  const name = names.get(imported + index) ?? '';
  const cut = imported + index === handler ? undefined : list.find(({ expression }) => expression.test(name));
  if (!cut) return whole;
  cut.functions++;
  cut.bytes += body.length;
  return leftOut(handler, cut.number);
});
const code = Buffer.concat([u32(own.length), ...own]);
const parts = all.map(({ id, whole }) => (id === CODE ? Buffer.concat([Buffer.from([CODE]), u32(code.length), code]) : whole));
writeFileSync(output, assemble(wasm, parts));

for (const { expression, functions, bytes } of list) {
  if (functions > 0) console.log(`cut ${functions} functions, ${bytes} bytes: ${expression.source}`);
  else console.warn(`warning: ${listPath}: no function's name matches ${expression.source}`);
}
