/**
 * Converts events of the module to progress with an estimate of the remaining time.
 *
 * The running phase is estimated from its speed so far, later phases from the last image of the same size and steps.
 * Without data there is no estimate: a guess is worse than none.
 *
 * @module
 */

import type { WasmEvent } from './contract.js';
import type { LoadProgress, Painting, StepProgress } from './types.js';

/** A clock in milliseconds, such as `performance.now`. */
export type Clock = () => number;

/** The window for measuring speed, since the speed of a network changes. */
const WINDOW_MS = 5000;
/** A speed over a shorter time is too noisy. */
const SETTLED_MS = 500;

/** Progress of downloading and loading. */
export class LoadEstimate {
  readonly #now: Clock;
  #phase = '';
  #samples: Array<{ at: number; done: number }> = [];

  constructor(now: Clock = () => performance.now()) {
    this.#now = now;
  }

  /** The progress for an event. */
  hear(event: Extract<WasmEvent, { kind: 'download' | 'load' }>): LoadProgress {
    const { kind, done, total } = event;
    const source = event.kind === 'download' ? { file: event.file, cached: event.cached } : {};
    // The cache and the network have different speeds.
    const phase = kind === 'download' && event.cached ? 'cache' : kind;
    if (phase !== this.#phase) this.#samples = [];
    this.#phase = phase;
    const eta = this.#eta(done, total);
    return { phase: kind, done, total, ...source, ...(eta !== undefined && { eta }) };
  }

  #eta(done: number, total: number): number | undefined {
    const at = this.#now();
    this.#samples.push({ at, done });
    // At least one old sample stays, so that the speed of a stalled download decreases.
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) > WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0] as { at: number; done: number };
    if (at - first.at < SETTLED_MS || done <= first.done) return undefined;
    return ((total - done) * (at - first.at)) / (done - first.done) / 1000;
  }
}

/** Milliseconds of the phases of the last image, for equal images. */
export interface History {
  likeness: string;
  timings: Painting['timings'];
}

type PaintEvent = Extract<WasmEvent, { kind: 'encode' | 'denoise' | 'decode' }>;
type Phase = PaintEvent['kind'];
const PHASES: Phase[] = ['encode', 'denoise', 'decode'];

/** Progress of one image. */
export class PaintEstimate {
  readonly #known: Painting['timings'] | undefined;
  readonly #now: Clock;
  #phase: Phase = 'encode';
  #began: number;
  #doneAtStart = 0;
  #steps: number;

  /** `steps` is the number to report before the first step. */
  constructor(steps: number, known?: Painting['timings'], now: Clock = () => performance.now()) {
    this.#steps = steps;
    this.#known = known;
    this.#now = now;
    this.#began = now();
  }

  /** The progress for an event, without the preview. */
  hear(event: PaintEvent): Omit<StepProgress, 'preview' | 'index' | 'numImages'> {
    if (event.kind !== this.#phase) this.#begin(event);
    if (event.kind === 'denoise') this.#steps = event.steps;
    const step = { encode: 0, denoise: event.kind === 'denoise' ? event.step : 0, decode: this.#steps }[event.kind];
    const eta = this.#eta(event);
    const { kind: phase, done, total } = event;
    return { phase, step, steps: this.#steps, done, total, ...(eta !== undefined && { eta }) };
  }

  #begin(event: PaintEvent): void {
    this.#phase = event.kind;
    this.#began = this.#now();
    this.#doneAtStart = event.done;
  }

  #eta(event: PaintEvent): number | undefined {
    let left = this.#leftOfPhase(event);
    if (left === undefined) return undefined;
    for (const later of PHASES.slice(PHASES.indexOf(event.kind) + 1)) {
      const takes = this.#known?.[later] ?? this.#firstGuess(event, later);
      if (takes === undefined) return undefined;
      left += takes;
    }
    return left / 1000;
  }

  #leftOfPhase({ kind, done, total }: PaintEvent): number | undefined {
    const elapsed = this.#now() - this.#began;
    const advanced = done - this.#doneAtStart;
    if (advanced > 0 && elapsed > 0) return (elapsed * (total - done)) / advanced;
    const known = this.#known?.[kind];
    return known === undefined ? undefined : Math.max(0, known - elapsed);
  }

  /** For the first image, the decoder counts as one more step: it is of that order in all published models. */
  #firstGuess(event: PaintEvent, later: Phase): number | undefined {
    if (event.kind !== 'denoise' || later !== 'decode' || event.total === 0) return undefined;
    const advanced = event.done - this.#doneAtStart;
    if (advanced <= 0) return undefined;
    return ((this.#now() - this.#began) / advanced) * (event.total / event.steps);
  }
}
