/**
 * A bare page with the built package and the embedded model, and the native program to compare with.
 *
 * It leaves out the demo page and bundlers, which have tests of their own.
 *
 * @module
 */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Page } from '@playwright/test';
import { PNG } from 'pngjs';
import { bytesContent, contentAt, type Hook, type Server, serve } from './server.ts';

export const ROOT = resolve(import.meta.dirname, '../../..');
/** The embedded model's files; `X2I_MODEL` names another folder, for a model that is not built in yet. */
export const EMOJI = process.env['X2I_MODEL'] ?? join(ROOT, 'core/models/emoji');
const PAGE = '<!doctype html><html lang="en"><title>x2i runtime tests</title><link rel="icon" href="data:,">';

/** Serves the package under `/x2i/`, the embedded model under `/emoji/`, patched workers under `/workers/`. */
export function serveRuntime(
  hooks: Hook[] = [], folders: Record<string, string> = {}, headers: Record<string, string> = {},
): Promise<Server> {
  const page = contentAt('/', bytesContent(Buffer.from(PAGE), 'text/html'));
  return serve({
    headers,
    hooks: [...hooks, page],
    folders: {
      '/x2i/': join(ROOT, 'www/dist'),
      '/emoji/': EMOJI,
      '/workers/': join(import.meta.dirname, 'workers'),
      ...folders,
    },
  });
}

/** Opens the bare page. */
export async function openPage(page: Page, server: Server): Promise<void> {
  await page.goto(`${server.url}/`);
}

/** A folder with the embedded model's files and a `model.json` that `change` was made to. */
export function variantOf(change: (config: { name: string; defaults: Record<string, unknown> }) => void): string {
  const folder = mkdtempSync(join(tmpdir(), 'x2i-model-'));
  for (const file of readdirSync(EMOJI)) if (file !== 'model.json') symlinkSync(join(EMOJI, file), join(folder, file));
  const config = JSON.parse(readFileSync(join(EMOJI, 'model.json'), 'utf8'));
  change(config);
  writeFileSync(join(folder, 'model.json'), JSON.stringify(config));
  return folder;
}

/** A folder with the embedded model, whose weights are of this type. */
export function convertedTo(type: string): string {
  const folder = join(mkdtempSync(join(tmpdir(), 'x2i-model-')), type);
  execFileSync(nativeProgram(), ['convert', EMOJI, folder, '--quantize', type, '-q']);
  return folder;
}

/** What the embedded model reads. */
export function modalities(): string[] {
  return JSON.parse(readFileSync(join(EMOJI, 'model.json'), 'utf8')).defaults.modalities;
}

/** 8-bit RGB pixels. */
export interface Picture {
  width: number;
  height: number;
  rgb: Uint8Array;
}

export function decodePng(bytes: Uint8Array): Picture {
  const { width, height, data } = PNG.sync.read(Buffer.from(bytes));
  return { width, height, rgb: rgbOf(data) };
}

/** Drops every fourth byte. */
export function rgbOf(rgba: Uint8Array): Uint8Array {
  return rgba.filter((_, index) => index % 4 !== 3);
}

/** The largest difference of two pictures in grey levels; infinite when their sizes differ. */
export function largestDifference(a: Picture, b: Picture): number {
  if (a.width !== b.width || a.height !== b.height) return Infinity;
  return a.rgb.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (b.rgb[index] as number))), 0);
}

/** Peak signal-to-noise ratio of two pictures of one size, in decibels; infinite where they are equal. */
export function psnr(a: Picture, b: Picture): number {
  const squares = a.rgb.reduce((sum, value, index) => sum + (value - (b.rgb[index] as number)) ** 2, 0);
  return 10 * Math.log10(255 ** 2 * a.rgb.length / squares);
}

/** The native program; `X2I` names another. */
export function nativeProgram(): string {
  const program = process.env['X2I'] ?? join(ROOT, 'target/release/x2i');
  if (!existsSync(program)) throw new Error(`${program} is missing: build it with cargo build --release`);
  return program;
}

/** Paints natively on the CPU, in the model's own number of steps or another. */
export function paintNatively(prompt: string, seed: number, steps?: number): Picture {
  return runNatively([prompt, '--seed', String(seed), ...(steps ? ['--steps', String(steps)] : []), '--model', EMOJI]);
}

/** Paints again what a PNG of the browser says. */
export function replayNatively(png: Uint8Array): Picture {
  const folder = mkdtempSync(join(tmpdir(), 'x2i-'));
  const from = join(folder, 'from.png');
  writeFileSync(from, png);
  return runNatively(['--from', from]);
}

/** What `x2i generate --json` with these arguments tells of the picture, on the CPU. */
export function nativeEvent(args: string[]): Record<string, unknown> {
  const out = join(mkdtempSync(join(tmpdir(), 'x2i-')), 'out.png');
  const told = execFileSync(nativeProgram(), ['generate', ...args, '--device', 'cpu', '--json', '-o', out], { encoding: 'utf8' });
  return told.trim().split('\n').map((line) => JSON.parse(line)).find(({ type }) => type === 'image');
}

/** Runs `x2i generate` with these arguments on the CPU. */
export function runNatively(args: string[]): Picture {
  const out = join(mkdtempSync(join(tmpdir(), 'x2i-')), 'out.png');
  execFileSync(nativeProgram(), ['generate', ...args, '--device', 'cpu', '-q', '-o', out], {
    env: { ...process.env, NODEVICE_SELECT: '1' },
  });
  return decodePng(readFileSync(out));
}
