// Makes one WebAssembly file that fits every browser, and says where it is changed for some of them.
//
//   node scripts/wasm/pack.mjs IN.wasm OUT.wasm GLUE.js VARIANTS.js
//
// OUT has a memory that is not shared, and functions that need relaxed SIMD. VARIANTS is a module that says where the
// flag of the memory is, for pages that may share it, and where those functions are, for browsers that can't compile
// them: www/src/variants.ts overwrites these bytes. GLUE, wasm-bindgen's, makes a memory that is not shared then.
// It checks that the hot loops are vectors, and drops the name section, by which it finds them.

import { readFileSync, writeFileSync } from 'node:fs';
import { assemble, bodies, CODE, CUSTOM, functionNames, IMPORT, imports, Reader, sections } from './module.mjs';

/** Functions with a hot loop, and the instructions that it must have, with their least number. */
const HOT = [
  { name: /^x2i_cpu::tile::vectors::vector_loop/, instructions: { 'f32x4.mul': 8, 'f32x4.add': 8 } },
  { name: /^x2i_cpu::tile::vectors::relaxed_vector_loop/, instructions: { 'f32x4.relaxed_madd': 8 }, relaxed: true },
  { name: /^x2i_cpu::integer::words::wasm::vector_loop/, instructions: { 'i32x4.dot_i16x8_s': 8 } },
  { name: /^x2i_cpu::integer::bytes::relaxed::relaxed_vector_loop/, instructions: { 'i32x4.relaxed_dot': 8 }, relaxed: true },
];

/** The codes of vector instructions, after their prefix. */
const CODES = {
  'f32x4.add': [0xe4, 0x01],
  'f32x4.mul': [0xe6, 0x01],
  'i32x4.dot_i16x8_s': [0xba, 0x01],
  'f32x4.relaxed_madd': [0x85, 0x02],
  'i32x4.relaxed_dot': [0x93, 0x02],
};
const PREFIX = 0xfd;

/** How often an instruction occurs in a body. Other bytes look like it too rarely to matter. */
function count(body, instruction) {
  const code = Buffer.from([PREFIX, ...CODES[instruction]]);
  let found = 0;
  for (let at = body.indexOf(code); at >= 0; at = body.indexOf(code, at + 1)) found++;
  return found;
}

const [input, output, gluePath, variantsPath] = process.argv.slice(2);
const wasm = readFileSync(input);
const found = sections(wasm);
const names = functionNames(found);
const isNames = ({ id, content }) => id === CUSTOM && new Reader(content).sized().toString() === 'name';
const packed = assemble(wasm, found.filter((section) => !isNames(section)).map(({ whole }) => whole));

const all = sections(packed);
const { functions: imported, memory } = imports(all.find(({ id }) => id === IMPORT));
if (!memory?.shared) throw new Error(`${input} imports no shared memory`);
packed[memory.at] &= ~2;

const code = all.find(({ id }) => id === CODE);
const relaxed = [];
for (const { name, instructions, relaxed: needsRelaxed } of HOT) {
  const matching = bodies(code.content).filter((_, index) => name.test(names.get(imported + index) ?? ''));
  if (matching.length === 0) throw new Error(`no function is called ${name.source}: was it inlined or renamed?`);
  for (const { start, body } of matching) {
    for (const [instruction, least] of Object.entries(instructions)) {
      const times = count(body, instruction);
      if (times < least) throw new Error(`${name.source} has ${instruction} ${times} times, not ${least}: its loop lost its vectors`);
    }
    if (needsRelaxed) relaxed.push([code.start + start, body.length]);
  }
}
writeFileSync(output, packed);

const glue = readFileSync(gluePath, 'utf8');
if (!glue.includes(',shared:true')) throw new Error(`${gluePath} makes no shared memory`);
writeFileSync(gluePath, glue.replaceAll(',shared:true', ''));
writeFileSync(`${variantsPath.slice(0, -3)}.d.ts`, `export declare const bytes: number;
export declare const memory: { flag: number; initial: number; maximum: number };
export declare const relaxed: Array<[number, number]>;
`);
writeFileSync(
  variantsPath,
  `/** Where the module is changed for a browser: see scripts/wasm/pack.mjs. */
export const bytes = ${packed.length};
export const memory = ${JSON.stringify({ flag: memory.at, initial: memory.initial, maximum: memory.maximum })};
export const relaxed = ${JSON.stringify(relaxed.sort(([a], [b]) => a - b))};
`,
);
console.log(`${relaxed.length} functions with relaxed SIMD, ${packed.length} bytes`);
