/**
 * Paints the pictures that the page shows before anything is downloaded, with the real program and fixed seeds, into
 * `src/pictures/`. What they show is `src/examples.json`: the first example in every language, the others in English.
 *
 *     cargo build --release && node www/demo/scripts/pictures.mjs
 *
 * The metadata is left out of the files: they are 64 x 64 pixels, and it would be a third of them.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../../target/release/x2i', import.meta.url));
const PICTURES = fileURLToPath(new URL('../src/pictures/', import.meta.url));
const EXAMPLES = JSON.parse(readFileSync(new URL('../src/examples.json', import.meta.url), 'utf8'));
/** As `src/examples.ts` has it. */
const SEED = 7;
const SIGNATURE = 8;

const work = mkdtempSync(join(tmpdir(), 'x2i-pictures-'));
rmSync(PICTURES, { recursive: true, force: true });
mkdirSync(PICTURES, { recursive: true });
const [hero, ...others] = EXAMPLES;
for (const [language, prompt] of Object.entries(hero)) paint(`hero-${language}`, prompt);
for (const [index, { en }] of others.entries()) paint(`example-${index + 1}`, en);
rmSync(work, { recursive: true });

function paint(name, prompt) {
  const made = join(work, `${name}.png`);
  execFileSync(PROGRAM, ['generate', prompt, '--seed', String(SEED), '--device', 'cpu', '-o', made], { stdio: 'ignore' });
  const png = withoutText(readFileSync(made));
  writeFileSync(join(PICTURES, `${name}.png`), png);
  console.log(`${name}.png ${png.length} bytes: ${prompt}`);
}

/** The chunks that a picture needs. */
function withoutText(png) {
  const kept = [png.subarray(0, SIGNATURE)];
  for (let at = SIGNATURE; at < png.length; ) {
    const end = at + 12 + png.readUInt32BE(at);
    if (['IHDR', 'PLTE', 'IDAT', 'IEND'].includes(png.toString('latin1', at + 4, at + 8))) kept.push(png.subarray(at, end));
    at = end;
  }
  return Buffer.concat(kept);
}
