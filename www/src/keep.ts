/**
 * One pipeline for all parts of a page that ask for the same one: components of React, and `<x2i-image>` elements.
 *
 * A pipeline stays for a moment after its last user is gone, since React mounts components twice in development, and
 * pages replace elements.
 *
 * @module
 */

import { X2iError } from './errors.js';
import { createPipeline } from './pipeline.js';
import type { LoadProgress, Pipeline, PipelineOptions, Warning } from './types.js';

/** Milliseconds that an unused pipeline stays. */
const LINGER_MS = 2000;

/** What a user of a kept pipeline hears while it loads. */
export interface Listener {
  onProgress?: (progress: LoadProgress) => void;
  onWarning?: (warning: Warning) => void;
}

interface Kept {
  pipeline: Promise<Pipeline>;
  listeners: Set<Listener>;
  life: AbortController;
  timer?: ReturnType<typeof setTimeout>;
}

const kept = new Map<string, Kept>();

/** Options that make two pipelines the same; those with files of the caller are never the same. */
export type KeptOptions = Omit<PipelineOptions, 'signal' | 'onProgress' | 'onWarning' | 'loras' | 'controlWeights'>;

/** The name of equal pipelines. */
export function keyOf(options: KeptOptions): string {
  const written = (_: string, value: unknown): unknown => (value instanceof URL ? value.href : value);
  return JSON.stringify(Object.entries(options).sort(), written);
}

/** Takes the pipeline with these options, which is loaded if nobody has it. Call `release` once when it is no longer used. */
export function take(
  options: KeptOptions,
  listener: Listener = {},
): { pipeline: Promise<Pipeline>; release: () => void } {
  const key = keyOf(options);
  const entry = kept.get(key) ?? open(key, options);
  clearTimeout(entry.timer);
  entry.listeners.add(listener);
  let used = true;
  const release = (): void => {
    if (!used) return;
    used = false;
    entry.listeners.delete(listener);
    if (entry.listeners.size === 0) entry.timer = setTimeout(() => end(key, entry), LINGER_MS);
  };
  return { pipeline: entry.pipeline, release };
}

function open(key: string, options: KeptOptions): Kept {
  const life = new AbortController();
  const listeners = new Set<Listener>();
  const pipeline = createPipeline({
    ...options,
    signal: life.signal,
    onProgress: (progress) => {
      for (const { onProgress } of listeners) onProgress?.(progress);
    },
    onWarning: (warning) => {
      for (const { onWarning } of listeners) onWarning?.(warning);
    },
  });
  const entry: Kept = { pipeline, listeners, life };
  kept.set(key, entry);
  // The next user tries again.
  pipeline.catch(() => forget(key, entry));
  return entry;
}

function end(key: string, entry: Kept): void {
  if (entry.listeners.size > 0) return;
  forget(key, entry);
  entry.life.abort(new X2iError('closed', 'nobody uses the pipeline'));
  entry.pipeline.then(
    (pipeline) => pipeline.close(),
    () => {},
  );
}

function forget(key: string, entry: Kept): void {
  if (kept.get(key) === entry) kept.delete(key);
}
