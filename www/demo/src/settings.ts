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
/** More than any published model takes, and more than anyone waits for. */
const MOST_STEPS = 100;

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
  isSeedRight();
  announce(`Seed ${value}`);
}

/** Says under a field what is wrong with it; nothing where it is right. */
function judge(field: HTMLInputElement, message: string): boolean {
  const place = byId(`${field.id}-error`, HTMLParagraphElement);
  place.textContent = message;
  place.hidden = message === '';
  if (message === '') field.removeAttribute('aria-invalid');
  else field.setAttribute('aria-invalid', 'true');
  return message === '';
}

function isSeedRight(): boolean {
  const text = seed.value.trim();
  const isRight = text === '' || (/^\d{1,20}$/.test(text) && BigInt(text) <= LARGEST_SEED);
  return judge(seed, isRight ? '' : `A whole number from 0 to ${LARGEST_SEED}, or nothing for a random one.`);
}

function areStepsRight(): boolean {
  const text = steps.value.trim();
  const isRight = text === '' || (/^\d{1,6}$/.test(text) && Number(text) >= 1 && Number(text) <= MOST_STEPS);
  return judge(steps, isRight ? '' : `A whole number from 1 to ${MOST_STEPS}.`);
}

/** What the fields ask for; empty ones are left to the model. Nothing, and the wrong field focused, where one is wrong. */
export function readSettings(): Job['options'] | undefined {
  const wrong = [isSeedRight() ? undefined : seed, areStepsRight() ? undefined : steps].find((field) => field !== undefined);
  if (wrong !== undefined) {
    wrong.focus();
    announce(byId(`${wrong.id}-error`, HTMLParagraphElement).textContent ?? '');
    return undefined;
  }
  const options: Job['options'] = {};
  if (seed.value.trim() !== '') options.seed = plain(BigInt(seed.value.trim()));
  if (steps.value.trim() !== '') options.steps = Number(steps.value);
  const [width, height] = size.value.split('x').map(Number);
  if (width && height) Object.assign(options, { width, height });
  return options;
}

/** What a link asks for; fields that it does not name stay as they are. */
export function fillFields(asked: { seed: string; steps: string; width?: number; height?: number }): void {
  if (asked.seed !== '') seed.value = asked.seed;
  if (asked.steps !== '') steps.value = asked.steps;
  if (asked.width && asked.height) chooseSize(asked.width, asked.height);
  isSeedRight();
  areStepsRight();
}

/** Fills the fields from a picture. */
export function fillSettings(metadata: Pick<Metadata, 'seed' | 'steps' | 'width' | 'height'>): void {
  seed.value = String(metadata.seed);
  steps.value = String(metadata.steps);
  isSeedRight();
  areStepsRight();
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
  const chosen = size.value;
  size.replaceChildren(...options);
  if (chosen !== '') chooseSize(...(chosen.split('x').map(Number) as [number, number]));
  if (steps.value === '') steps.value = String(defaults.steps);
}

export function startSettings(): void {
  seed.addEventListener('input', isSeedRight);
  steps.addEventListener('input', areStepsRight);
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
