/** Copies the model from `core/models/emoji/`, and checks that `index.js` names exactly these files. */

import { deepStrictEqual } from 'node:assert';
import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import model from './index.js';

const from = new URL('../../core/models/emoji/', import.meta.url);
const to = new URL('./files/', import.meta.url);

const files = (await readdir(from)).filter((file) => file.endsWith('.gguf') || file.endsWith('.json'));
deepStrictEqual(
  Object.keys(model.files).sort(),
  files.sort(),
  "index.js names other files than the model's folder has",
);
await rm(to, { recursive: true, force: true });
await mkdir(to);
for (const file of files) await cp(new URL(file, from), new URL(file, to));
