/**
 * Events of the module to progress with an estimate of the time that is left.
 *
 * A phase's own speed so far tells how long it goes on; phases still to come take what they took in the last picture
 * of the same size and steps. Where nothing is known, nothing is told: an estimate that is a guess is worse than none.
 *
 * @module
 */

import type { WasmEvent } from './contract.js';
import type { LoadProgress, Painting, StepProgress } from './types.js';

/** Milliseconds, as `performance.now`. */
export type Clock = () => number;

/** Speed is taken from the last seconds only, since networks change theirs. */
const WINDOW_MS = 5000;
/** Before this, a speed is noise. */
const SETTLED_MS = 500;

/** Progress of downloading and loading. */
export class LoadEstimate {
  readonly #now: Clock;
  #phase = '';
  #samples: Array<{ at: number; done: number }> = [];

  constructor(now: Clock = () => performance.now()) {
    this.#now = now;
  }

  /** The progress to tell. */
  hear(event: Extract<WasmEvent, { kind: 'download' | 'load' }>): LoadProgress {
    const { kind, done, total } = event;
    const source = event.kind === 'download' ? { file: event.file, cached: event.cached } : {};
    // The cache's speed says nothing of the network's.
    const phase = kind === 'download' && event.cached ? 'cache' : kind;
    if (phase !== this.#phase) this.#samples = [];
    this.#phase = phase;
    const eta = this.#eta(done, total);
    return { phase: kind, done, total, ...source, ...(eta !== undefined && { eta }) };
  }

  #eta(done: number, total: number): number | undefined {
    const at = this.#now();
    this.#samples.push({ at, done });
    // The oldest sample inside the window stays, so that a stalled download has something to be slow against.
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) > WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0] as { at: number; done: number };
    if (at - first.at < SETTLED_MS || done <= first.done) return undefined;
    return ((total - done) * (at - first.at)) / (done - first.done) / 1000;
  }
}

/** Milliseconds that the phases of the last picture took, for pictures that are alike. */
export interface History {
  likeness: string;
  timings: Painting['timings'];
}

type PaintEvent = Extract<WasmEvent, { kind: 'encode' | 'denoise' | 'decode' }>;
type Phase = PaintEvent['kind'];
const PHASES: Phase[] = ['encode', 'denoise', 'decode'];

/** Progress of one picture. */
export class PaintEstimate {
  readonly #known: Painting['timings'] | undefined;
  readonly #now: Clock;
  #phase: Phase = 'encode';
  #began: number;
  #doneAtStart = 0;
  #steps: number;

  /** `steps` is the number to tell before the first step. */
  constructor(steps: number, known?: Painting['timings'], now: Clock = () => performance.now()) {
    this.#steps = steps;
    this.#known = known;
    this.#now = now;
    this.#began = now();
  }

  /** The progress to tell, without the preview. */
  hear(event: PaintEvent): Omit<StepProgress, 'preview'> {
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

  /** In a first picture the decoder is taken for one more step: it is of that order in all published models. */
  #firstGuess(event: PaintEvent, later: Phase): number | undefined {
    if (event.kind !== 'denoise' || later !== 'decode' || event.total === 0) return undefined;
    const advanced = event.done - this.#doneAtStart;
    if (advanced <= 0) return undefined;
    return ((this.#now() - this.#began) / advanced) * (event.total / event.steps);
  }
}
