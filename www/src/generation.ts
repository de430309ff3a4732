/**
 * A running generation: a log of steps that can be iterated, and a result.
 *
 * Every iterator reads the log from its start, so that a slow reader misses no step. Only the newest preview is kept,
 * since previews take memory.
 *
 * @module
 */

import type { X2iError } from './errors.js';
import type { Generation, GenerationResult, Output, StepProgress } from './types.js';

export class RunningGeneration<O extends Output> implements Generation<O> {
  readonly result: Promise<GenerationResult<O>>;
  readonly #log: StepProgress[] = [];
  #withPreview: number | undefined;
  #settle!: { resolve: (result: GenerationResult<O>) => void; reject: (error: X2iError) => void };
  #end: 'open' | 'finished' | X2iError = 'open';
  #changed = signalOfChange();

  constructor() {
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // A caller that only iterates gets the failure there.
    this.result.catch(() => {});
  }

  /** True once it has a result or an error. */
  get isOver(): boolean {
    return this.#end !== 'open';
  }

  /** Adds a step to the log. */
  report(progress: StepProgress): void {
    if (this.isOver) return;
    if (progress.preview) this.#dropPreview();
    if (progress.preview) this.#withPreview = this.#log.length;
    this.#log.push(progress);
    this.#wake();
  }

  finish(result: GenerationResult<O>): void {
    if (this.isOver) return;
    this.#end = 'finished';
    this.#settle.resolve(result);
    this.#wake();
  }

  fail(error: X2iError): void {
    if (this.isOver) return;
    this.#end = error;
    this.#settle.reject(error);
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StepProgress, void, undefined> {
    for (let next = 0; ; next++) {
      while (next === this.#log.length && !this.isOver) await this.#changed.promise;
      const progress = this.#log[next];
      if (progress) yield progress;
      else if (this.#end === 'finished') return;
      else throw this.#end;
    }
  }

  /** Drops the older preview from the log; a caller that holds that step keeps it. */
  #dropPreview(): void {
    const older = this.#withPreview === undefined ? undefined : this.#log[this.#withPreview];
    if (!older) return;
    const { preview: _, ...rest } = older;
    this.#log[this.#withPreview as number] = rest;
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = signalOfChange();
  }
}

function signalOfChange(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((resolved) => {
    resolve = resolved;
  });
  return { promise, resolve };
}
