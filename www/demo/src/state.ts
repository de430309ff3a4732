/**
 * All that the page shows, in one value, and who wants to know when a part of it changes.
 * Holds facts only; `studio.ts` changes them by working, the views by the visitor's wishes.
 */

import type { DeviceInfo, GenerateOptions, LoadProgress, ModelDescription, ModelInfo, PromptPart, StepProgress } from '@x2i/web';
import type { Language } from './examples';
import type { Concept } from './naming';
import type { Picture } from './store';
import type { Work } from './work';

export type ModelState =
  | { kind: 'checking' }
  /** Without a description where nothing may be fetched unasked (Save-Data). */
  | { kind: 'absent'; description?: ModelDescription }
  | { kind: 'loading'; progress?: LoadProgress }
  | { kind: 'ready'; device: DeviceInfo; model: ModelInfo }
  | { kind: 'failed' };

/** A picture that was asked for. */
export interface Job {
  id: number;
  /** The words of the prompt, for captions. */
  text: string;
  /** Their language (BCP 47). */
  lang: string;
  parts: PromptPart[];
  options: Pick<GenerateOptions, 'seed' | 'steps' | 'width' | 'height' | 'guidance' | 'cache' | 'conditioning'>;
}

export interface Running {
  job: Job;
  progress?: StepProgress;
  /** What the model understood, as soon as it says so. */
  answer?: string;
  /** What was counted so far. */
  work: Work;
}

/** What hangs on the easel. */
export type Shown = { kind: 'nothing' } | { kind: 'picture'; picture: Picture } | { kind: 'compare'; first: Picture; second: Picture };

export interface Notice {
  /** `error` is red and has something to do about it; `info` only tells. */
  tone: 'error' | 'info';
  text: string;
  advice?: string;
  action?: { label: string; run: () => void };
  /** Another way out. */
  link?: { label: string; href: string };
}

export interface State {
  model: ModelState;
  /** Whether the last question to the network had no answer. */
  unreached: boolean;
  /** What the browser offers; empty until that is known. */
  devices: readonly DeviceInfo[];
  queue: readonly Job[];
  running: Running | undefined;
  pictures: readonly Picture[];
  /** Ids of pictures picked to be compared, at most two. */
  picked: readonly number[];
  shown: Shown;
  notice: Notice | undefined;
  /** The language of the examples. */
  language: Language;
  /** What the embedded model knows; empty until it is loaded. */
  concepts: readonly Concept[];
}

type Listener = (state: Readonly<State>) => void;

let current: State = {
  model: { kind: 'checking' },
  unreached: false,
  devices: [],
  queue: [],
  running: undefined,
  pictures: [],
  picked: [],
  shown: { kind: 'nothing' },
  notice: undefined,
  language: 'en',
  concepts: [],
};
const listeners = new Set<Listener>();

export function state(): Readonly<State> {
  return current;
}

export function update(change: Partial<State>): void {
  current = { ...current, ...change };
  for (const listener of listeners) listener(current);
}

/** Calls `effect` now, and whenever what `select` picks is another value. */
export function watch<T>(select: (state: Readonly<State>) => T, effect: (value: T, state: Readonly<State>) => void): void {
  let last = select(current);
  effect(last, current);
  listeners.add((now) => {
    const value = select(now);
    if (Object.is(value, last)) return;
    last = value;
    effect(value, now);
  });
}
