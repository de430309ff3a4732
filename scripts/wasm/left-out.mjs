// Writes which functions a line of the list leaves out, as a module of the package.
//
//   node scripts/wasm/left-out.mjs LIST OUT.js

import { readFileSync, writeFileSync } from 'node:fs';

const [list, output] = process.argv.slice(2);
const lines = readFileSync(list, 'utf8').split('\n').map((line, index) => [index + 1, line]);
const rules = Object.fromEntries(lines.filter(([, line]) => line && !line.startsWith('#')));
writeFileSync(output, `/** Regular expressions of the names, by the line of web/never-run.txt. */\nexport const rules = ${JSON.stringify(rules)};\n`);
