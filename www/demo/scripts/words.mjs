/**
 * Writes `src/words.json`: the 160 things that the embedded model was trained to paint, each by its labels in the eight
 * languages of `src/examples.ts`, English first. Needs the packages of core/models/emoji/recipe (100 MB, from npm):
 *
 *     node www/demo/scripts/words.mjs
 *
 * The choice is that of `choose_concepts` in core/models/emoji/recipe/data.py. The labels are emojibase-data's (MIT,
 * Miles Johnson), as core/models/emoji/README.md says.
 */

import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RECIPE = fileURLToPath(new URL('../../../core/models/emoji/recipe/', import.meta.url));
const WORDS = fileURLToPath(new URL('../src/words.json', import.meta.url));
const LANGUAGES = ['en', 'zh', 'de', 'fr', 'ja', 'es', 'ru', 'vi'];
const SETS = ['noto', 'twemoji', 'fluent-emoji-flat', 'openmoji'];
const COUNT = 160;

const folder = mkdtempSync(join(tmpdir(), 'x2i-words-'));
try {
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(RECIPE, file), join(folder, file));
  execFileSync('npm', ['ci', '--silent', '--no-audit', '--no-fund'], { cwd: folder, stdio: 'inherit' });
  const read = (path) => JSON.parse(readFileSync(join(folder, 'node_modules', path), 'utf8'));
  const concepts = choose(read);
  const lines = concepts.map((labels) => JSON.stringify(labels));
  writeFileSync(WORDS, `[\n${lines.join(',\n')}\n]\n`);
  console.log(`${concepts.length} concepts`);
} finally {
  rmSync(folder, { recursive: true });
}

/** The first that all four sets draw, and whose labels no other has in any language. */
function choose(read) {
  const drawn = SETS.map((set) => new Set(Object.keys(read(`@iconify-json/${set}/chars.json`))));
  const entries = LANGUAGES.map((language) => new Map(read(`emojibase-data/${language}/data.json`).map((entry) => [entry.hexcode, entry.label])));
  const english = new Map([...entries[0]].map(([hexcode, label]) => [label.toLowerCase(), hexcode]));
  const wanted = readFileSync(join(RECIPE, 'concepts.txt'), 'utf8').split('\n').map((line) => line.trim()).filter(Boolean);
  let concepts = wanted.flatMap((label) => {
    const hexcode = english.get(label);
    const isDrawn = hexcode !== undefined && drawn.every((names) => names.has(hexcode.toLowerCase()) || names.has(hexcode.toLowerCase().replace(/-fe0f/g, '')));
    return isDrawn ? [entries.map((labels) => labels.get(hexcode))] : [];
  });
  for (const index of LANGUAGES.keys()) {
    const uses = new Map();
    for (const labels of concepts) uses.set(labels[index].toLowerCase(), (uses.get(labels[index].toLowerCase()) ?? 0) + 1);
    concepts = concepts.filter((labels) => uses.get(labels[index].toLowerCase()) === 1);
  }
  return concepts.slice(0, COUNT);
}
