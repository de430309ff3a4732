/**
 * One request, painted by the package in a page and by the native program from the same files.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Page } from '@playwright/test';
import { decodePng, type Picture, runNatively } from './runtime.ts';
import { bytesContent, contentAt, type Server } from './server.ts';

/** Text, or a file by its path. */
export type Given = string | { image: string } | { video: string } | { audio: string };

/** What is asked for; files by their paths. */
export interface Case {
  prompt: Given[];
  seed?: number;
  steps?: number;
  conditioning?: 'prompt' | 'answer';
  videoFps?: number;
  background?: string;
  init?: { image: string; strength: number };
  /** The program finds `config` beside the file. */
  lora?: { data: string; config?: string; scale: number };
  control?: { image: string; scale: number; weights: string };
}

/** What the page made of it, or why not. */
export interface Painted {
  picture?: Picture;
  answer?: string;
  /** Answers that were told while it painted. */
  told: string[];
  metadata?: Record<string, unknown>;
  error?: { code: string; message: string };
}

/** Paints in the page with the model below `model` on the CPU, or on `device`. */
export async function paintInPage(page: Page, server: Server, model: string, asked: Case, device = 'cpu'): Promise<Painted> {
  const files = filesOf(asked);
  for (const file of files) {
    const path = `/files/${basename(file)}`;
    const type = file.endsWith('.gif') ? 'image/gif' : undefined;
    server.hooks.unshift(contentAt(path, bytesContent(readFileSync(file), type)));
  }
  const served = JSON.parse(JSON.stringify(asked), (_, value) => (files.includes(value) ? `/files/${basename(value)}` : value));
  const painted = await page.evaluate(paint, { model, asked: served as Case, device });
  const { png, ...rest } = painted;
  return { ...rest, ...(png && { picture: decodePng(new Uint8Array(png)) }) };
}

/** Runs in the page. */
async function paint(given: { model: string; asked: Case; device: string }): Promise<Omit<Painted, 'picture'> & { png?: number[] }> {
  const { model, asked, device } = given;
  const { createPipeline } = await import('/x2i/index.js');
  const file = async (path: string) => new File([await (await fetch(path)).blob()], path.slice(7));
  const { prompt, lora, control, init, ...rest } = asked;
  const told: string[] = [];
  try {
    const x2i = await createPipeline({
      model,
      device: device as 'cpu',
      ...(lora && {
        loras: [
          { data: await file(lora.data), scale: lora.scale, ...(lora.config && { config: await file(lora.config) }) },
        ],
      }),
      ...(control && { controlWeights: await file(control.weights) }),
    });
    const parts = [];
    for (const part of prompt) {
      if (typeof part === 'string') parts.push(part);
      else for (const [kind, path] of Object.entries(part)) parts.push({ [kind]: await file(path) } as never);
    }
    const run = x2i.generate({
      ...rest,
      prompt: parts,
      seed: rest.seed ?? 7,
      preview: false,
      ...(init && { init: { ...init, image: await file(init.image) } }),
      ...(control && { control: { image: await file(control.image), scale: control.scale } }),
    });
    for await (const { answer } of run) if (answer !== undefined) told.push(answer);
    const { png, answer, metadata } = await run.result;
    x2i.close();
    const bytes = Array.from(new Uint8Array(await png.arrayBuffer()));
    return { png: bytes, told, metadata: { ...metadata, seed: Number(metadata.seed) }, ...(answer !== undefined && { answer }) };
  } catch (thrown) {
    const { code, message } = thrown as { code: string; message: string };
    return { told, error: { code: String(code), message } };
  }
}

/** Paints the same natively, with the model in this folder. */
export function paintCaseNatively(folder: string, asked: Case): Picture {
  const { prompt, seed = 7, steps, conditioning, videoFps, background, init, lora, control } = asked;
  const parts = prompt.flatMap((part) => {
    if (typeof part === 'string') return ['--text', part];
    return Object.entries(part).flatMap(([kind, path]) => [`--${kind}`, path]);
  });
  return runNatively([
    ...parts,
    ...['--model', folder, '--seed', String(seed)],
    ...(steps ? ['--steps', String(steps)] : []),
    ...(conditioning === 'answer' ? ['--answer'] : []),
    ...(videoFps ? ['--video-fps', String(videoFps)] : []),
    ...(background ? ['--background', background] : []),
    ...(init ? ['--init', init.image, '--strength', String(init.strength)] : []),
    ...(lora ? ['--lora', `${lora.data}:${lora.scale}`] : []),
    ...(control ? ['--control', `${control.image}:${control.scale}`, '--control-weights', control.weights] : []),
  ]);
}

function filesOf({ prompt, init, lora, control }: Case): string[] {
  const shown = prompt.flatMap((part) => (typeof part === 'string' ? [] : Object.values(part)));
  return [...shown, init?.image, lora?.data, lora?.config, control?.image, control?.weights].filter((path) => path !== undefined);
}

