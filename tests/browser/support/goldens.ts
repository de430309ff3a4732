/**
 * The golden folders that a test runs on, found as the native test finds them (`tests/golden_files.rs`): those under
 * `X2I_GOLDENS`, by default those of the repository and what it lacks of the larger set beside it.
 *
 * @module
 */

import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../../..');
const OWN = join(ROOT, 'tests/goldens');
const BESIDE = join(ROOT, '../shared/goldens');
/** The tokenizer that other sets may leave out: it is 10 MB and always the same. */
const SHARED_TOKENIZER = '_tokenizer_qwen2_5';

export interface GoldenSet {
  /** The folders of the set by their names, wherever they are. */
  folders: Record<string, string>;
  /** All files below them, each with its folder's name, `/` between parts. */
  paths: string[];
}

/** The chosen set, with what it may borrow. */
export function goldenSet(): GoldenSet {
  const chosen = process.env['X2I_GOLDENS'];
  const set = chosen ? resolve(chosen) : OWN;
  const lent = chosen
    ? foldersIn(OWN).filter((name) => name === SHARED_TOKENIZER)
    : existsSync(BESIDE)
      ? foldersIn(BESIDE)
      : [];
  const lender = chosen ? OWN : BESIDE;
  const folders: Record<string, string> = {};
  for (const name of lent) folders[name] = join(lender, name);
  for (const name of foldersIn(set)) folders[name] = join(set, name);
  const paths = Object.entries(folders).flatMap(([name, folder]) => filesIn(folder).map((file) => `${name}/${file}`));
  return { folders, paths };
}

function foldersIn(root: string): string[] {
  return readdirSync(root).filter((name) => statSync(join(root, name)).isDirectory());
}

function filesIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  return files.map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1).replaceAll(sep, '/'));
}
