'use client';

/**
 * A hook for React 18 and 19: {@link useX2i}.
 *
 * Nothing is downloaded before the first `load` or `generate`, so the hook may be rendered on a server. Components with the
 * same options share one pipeline. A component that unmounts stops its own calls.
 *
 * @module
 */

import { useCallback, useEffect, useRef, useState } from 'react';
import { toX2iError, X2iError } from './errors.js';
import { type KeptOptions, keyOf, take } from './keep.js';
import type {
  GenerateOptions,
  GenerationResult,
  LoadProgress,
  Output,
  Pipeline,
  StepProgress,
  Warning,
} from './types.js';

export type { KeptOptions } from './keep.js';

/** What a component shows. */
export interface X2iState {
  status: 'idle' | 'loading' | 'ready' | 'generating' | 'failed';
  /** The model on its device, once it is loaded. */
  pipeline?: Pipeline;
  /** Progress of the download and of loading. */
  progress?: LoadProgress;
  /** Progress of the running call, with its preview. */
  step?: StepProgress;
  /** What the last call generated; it stays while the next one runs. */
  result?: GenerationResult<Output>;
  /** Why the last call failed. */
  error?: X2iError;
  /** The last problem that did not stop the work. */
  warning?: Warning;
}

/** The state, and what changes it. The functions are the same in every render. */
export interface X2i extends X2iState {
  /** Downloads and loads the model; undefined if that failed, which `error` tells. */
  load(): Promise<Pipeline | undefined>;
  /** Generates, after the model is loaded, and stops this component's earlier call; undefined if it failed or was stopped. */
  generate<O extends Output = 'bitmap'>(
    options: GenerateOptions & { output?: O },
  ): Promise<GenerationResult<O> | undefined>;
  /** Stops the running call. */
  stop(): void;
}

/** What lives as long as a component is mounted with the same options. */
interface Life {
  taken?: ReturnType<typeof take>;
  running?: AbortController;
  ended: boolean;
}

/**
 * A pipeline for a component.
 *
 * @example
 * ```jsx
 * const { status, step, result, error, generate } = useX2i({ model: 'emoji' });
 * return <button onClick={() => generate({ prompt: 'a red apple' })}>{status}</button>;
 * ```
 */
export function useX2i(options: KeptOptions): X2i {
  const [state, setState] = useState<X2iState>({ status: 'idle' });
  const latest = useRef(options);
  latest.current = options;
  const life = useRef<Life | undefined>(undefined);
  const key = keyOf(options);

  // Effects of children run before this one, so a call may have begun the life already.
  // biome-ignore lint/correctness/useExhaustiveDependencies: another model is another life
  useEffect(() => {
    const begun = life;
    return () => {
      end(begun.current);
      begun.current = undefined;
      setState({ status: 'idle' });
    };
  }, [key]);

  const load = useCallback(async (): Promise<Pipeline | undefined> => {
    const mine = lifeOf(life);
    const update = (change: Partial<X2iState>): void => {
      if (!mine.ended) setState((before) => ({ ...before, ...change }));
    };
    try {
      if (!mine.taken) {
        update({ status: 'loading' });
        mine.taken = take(latest.current, {
          onProgress: (progress) => update({ progress }),
          onWarning: (warning) => update({ warning }),
        });
      }
      const pipeline = await mine.taken.pipeline;
      if (mine.ended) return undefined;
      setState(({ error: _, ...before }) => ({ ...before, pipeline, status: mine.running ? before.status : 'ready' }));
      return pipeline;
    } catch (thrown) {
      mine.taken?.release();
      delete mine.taken;
      update({ status: 'failed', error: toX2iError(thrown) });
      return undefined;
    }
  }, []);

  const stop = useCallback((): void => life.current?.running?.abort(new X2iError('aborted', 'stopped')), []);

  const generate = useCallback(
    async <O extends Output = 'bitmap'>(
      wanted: GenerateOptions & { output?: O },
    ): Promise<GenerationResult<O> | undefined> => {
      stop();
      const mine = lifeOf(life);
      const running = new AbortController();
      mine.running = running;
      const isMine = (): boolean => !mine.ended && mine.running === running;
      const pipeline = await load();
      if (!pipeline || running.signal.aborted) {
        if (isMine()) delete mine.running;
        return undefined;
      }
      const signals = wanted?.signal ? [wanted.signal, running.signal] : [running.signal];
      setState(({ step: _, error: __, ...before }) => ({ ...before, status: 'generating' }));
      try {
        const run = pipeline.generate({ ...wanted, signal: anyOf(signals) });
        for await (const step of run) if (isMine()) setState((before) => ({ ...before, step }));
        const result = await run.result;
        if (!isMine()) return undefined;
        setState(({ step: _, ...before }) => ({ ...before, status: 'ready', result }));
        return result;
      } catch (thrown) {
        const error = toX2iError(thrown);
        const stopped = error.code === 'aborted';
        if (isMine()) {
          setState(({ step: _, ...before }) => ({
            ...before,
            status: stopped ? 'ready' : 'failed',
            ...(!stopped && { error }),
          }));
        }
        return undefined;
      } finally {
        if (mine.running === running) delete mine.running;
      }
    },
    [load, stop],
  );

  return { ...state, load, generate, stop };
}

/** The life that runs, or a new one. */
function lifeOf(place: { current: Life | undefined }): Life {
  place.current ??= { ended: false };
  return place.current;
}

function end(life: Life | undefined): void {
  if (!life) return;
  life.ended = true;
  life.running?.abort(new X2iError('aborted', 'the component is gone'));
  life.taken?.release();
}

/** `AbortSignal.any`, which browsers have only since 2023. */
function anyOf(signals: AbortSignal[]): AbortSignal {
  const any = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) any.abort(signal.reason);
    else signal.addEventListener('abort', () => any.abort(signal.reason), { once: true, signal: any.signal });
  }
  return any.signal;
}
