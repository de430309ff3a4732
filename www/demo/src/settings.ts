/** Seed, steps and size: what the fields say, and filling them from a model's defaults or a picture's metadata. */

import type { Metadata, ModelInfo } from '@x2i/web';
import { byId, make } from './dom';
import { size as sizeLabel } from './format';
import { announce } from './live';
import { watch, type Job } from './state';

const seed = byId('seed', HTMLInputElement);
const steps = byId('steps', HTMLInputElement);
const size = byId('size', HTMLSelectElement);

const LARGEST_SEED = 2n ** 64n - 1n;
/** Sides offered, as parts of the model's own; all are rounded to what a transformer's patch asks for. */
const SHAPES: ReadonlyArray<readonly [number, number]> = [[1, 1], [1.5, 1], [1, 1.5], [1.5, 1.5], [2, 2]];
const PATCH = 16;

/** A number where it is one exactly, for the sake of plain JSON. */
function plain(value: bigint): number | bigint {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** A seed a person can still read out. */
export function rollSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}

/** Fills the seed field. */
export function useSeed(value: number | bigint): void {
  seed.value = String(value);
  announce(`Seed ${value}`);
}

/** What the fields ask for; empty ones are left to the model. */
export function readSettings(): Job['options'] {
  const options: Job['options'] = {};
  if (seed.value !== '') {
    const wanted = BigInt(seed.value);
    options.seed = plain(wanted > LARGEST_SEED ? LARGEST_SEED : wanted);
  }
  const count = Math.round(steps.valueAsNumber);
  if (count >= 1) options.steps = count;
  const [width, height] = size.value.split('x').map(Number);
  if (width && height) Object.assign(options, { width, height });
  return options;
}

/** Fills the fields from a picture. */
export function fillSettings(metadata: Pick<Metadata, 'seed' | 'steps' | 'width' | 'height'>): void {
  seed.value = String(metadata.seed);
  steps.value = String(metadata.steps);
  chooseSize(metadata.width, metadata.height);
}

function chooseSize(width: number, height: number): void {
  const value = `${width}x${height}`;
  if (![...size.options].some((option) => option.value === value)) size.append(make('option', { value }, sizeLabel(width, height)));
  size.value = value;
}

function offer({ defaults }: ModelInfo): void {
  // A server's gateway does not know them: the empty choice stays, and the worker takes its own.
  if (defaults.width === 0) return;
  const round = (side: number) => Math.max(PATCH, Math.round(side / PATCH) * PATCH);
  const options = SHAPES.map(([across, down]) => {
    const width = round(defaults.width * across);
    const height = round(defaults.height * down);
    return make('option', { value: `${width}x${height}` }, sizeLabel(width, height));
  });
  size.replaceChildren(...options);
  if (steps.value === '') steps.value = String(defaults.steps);
}

export function startSettings(): void {
  seed.addEventListener('input', () => {
    seed.value = seed.value.replace(/\D/g, '').slice(0, 20);
  });
  byId('dice', HTMLButtonElement).addEventListener('click', () => useSeed(rollSeed()));
  let offered: string | undefined;
  watch(
    (state) => state.model,
    (model) => {
      if (model.kind !== 'ready' || model.model.name === offered) return;
      offered = model.model.name;
      offer(model.model);
    },
  );
}
