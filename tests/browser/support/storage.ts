/**
 * What the package keeps in a page's storage, seen and damaged from outside.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { EMOJI } from './runtime.ts';

interface ModelConfig {
  name: string;
  files: Record<string, { bytes: number; sha256: string }>;
}

/** The records of the embedded model's files. */
export function records(folder = EMOJI): ModelConfig['files'] {
  return (JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as ModelConfig).files;
}

/** Bytes of all recorded files. */
export function bytesOf(files: ModelConfig['files']): number {
  return Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** The SHA-256 of a file of the embedded model, which is its name in the storage. */
export function hashOf(file: string): string {
  return records()[file]?.sha256 as string;
}

/** A folder with the embedded model, of which one file has other bytes, which `model.json` records. */
export function versionWith(file: string, change: (bytes: Buffer) => Buffer): string {
  const folder = mkdtempSync(join(tmpdir(), 'x2i-model-'));
  const config = JSON.parse(readFileSync(join(EMOJI, 'model.json'), 'utf8')) as ModelConfig;
  const bytes = change(readFileSync(join(EMOJI, file)));
  config.files[file] = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  for (const name of readdirSync(EMOJI)) {
    if (name !== 'model.json' && name !== file) symlinkSync(join(EMOJI, name), join(folder, name));
  }
  writeFileSync(join(folder, file), bytes);
  writeFileSync(join(folder, 'model.json'), JSON.stringify(config));
  return folder;
}

/** Bytes of the files in OPFS by their names, without marks and models' entries. */
export function stored(page: Page): Promise<Record<string, number>> {
  return page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const sizes: Record<string, number> = {};
    const folder = await root.getDirectoryHandle('x2i-files').catch(() => undefined);
    if (!folder) return sizes;
    const entries = (folder as never as { entries(): AsyncIterable<[string, FileSystemFileHandle]> }).entries();
    for await (const [name, handle] of entries) {
      if (!name.startsWith('model-') && !name.endsWith('.ok')) sizes[name] = (await handle.getFile()).size;
    }
    return sizes;
  });
}

/** Overwrites a part of a stored file with bytes of this value; its length stays. */
export function damage(page: Page, name: string, { at, bytes, value }: { at: number; bytes: number; value: number }): Promise<void> {
  return page.evaluate(async ({ name, at, bytes, value }) => {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle('x2i-files');
    const handle = await folder.getFileHandle(name);
    const file = await handle.createWritable({ keepExistingData: true });
    await file.write({ type: 'write', position: at, data: new Uint8Array(bytes).fill(value) });
    await file.close();
  }, { name, at, bytes, value });
}

/** Empties OPFS. */
export function empty(page: Page): Promise<void> {
  return page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    await root.removeEntry('x2i-files', { recursive: true }).catch(() => {});
  });
}
