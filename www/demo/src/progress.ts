/** How far the work is: one bar over download or painting, its phase in words, the seconds left, and the live preview. */

import type { LoadProgress, StepProgress } from '@x2i/web';
import { byId, say } from './dom';
import { fitLayers } from './crisp';
import { bytes, remaining } from './format';
import { announce } from './live';
import { PROGRAM, SCRIPTS } from './program';
import { state, watch, type State } from './state';
import { cancel } from './studio';

const panel = byId('work', HTMLDivElement);
const words = byId('work-text', HTMLSpanElement);
const bar = byId('work-bar', HTMLProgressElement);
const preview = byId('preview', HTMLCanvasElement);

const CODE = PROGRAM + SCRIPTS;
const PHASES = { encode: 'Reading the prompt', denoise: 'Painting', decode: 'Developing' } as const;
/** How long the phases take of a picture, until one was painted here. */
const USUAL = { encode: 0.25, denoise: 0.6, decode: 0.15 };

/** Shares of the phases, from the last picture's times. */
function shares(): typeof USUAL {
  const timings = state().pictures[0]?.timings;
  if (timings === undefined || timings.total <= 0) return USUAL;
  return { encode: timings.encode / timings.total, denoise: timings.denoise / timings.total, decode: timings.decode / timings.total };
}

function loadingLine(progress: LoadProgress | undefined): { text: string; value: number | undefined } {
  if (progress === undefined) return { text: 'Opening the model', value: undefined };
  const value = progress.total > 0 ? progress.done / progress.total : 0;
  if (progress.phase === 'load') return { text: 'Opening the model', value };
  if (progress.cached) return { text: 'Opening the model from this device', value };
  const left = progress.eta === undefined ? '' : `, ${remaining(progress.eta)}`;
  // The code of the page counts too.
  const [done, total] = [progress.done + CODE, progress.total + CODE];
  return { text: `Downloading, ${bytes(done)} of ${bytes(total)}${left}`, value: done / total };
}

/** While the program itself is on its way. */
function fetchingLine(): { text: string; value: undefined } {
  return { text: PROGRAM > 0 ? `Fetching the program, ${bytes(PROGRAM)}` : 'One moment', value: undefined };
}

function paintingLine(progress: StepProgress | undefined): { text: string; value: number } {
  if (progress === undefined) return { text: PHASES.encode, value: 0 };
  const share = shares();
  const before = { encode: 0, denoise: share.encode, decode: share.encode + share.denoise }[progress.phase];
  const within = progress.total > 0 ? progress.done / progress.total : 0;
  const step = progress.phase === 'denoise' ? `, step ${Math.max(1, progress.step)} of ${progress.steps}` : '';
  const left = progress.eta === undefined ? '' : `, ${remaining(progress.eta)}`;
  return { text: `${PHASES[progress.phase]}${step}${left}`, value: Math.min(1, before + within * share[progress.phase]) };
}

function line({ model, running }: Readonly<State>): { text: string; value: number | undefined } {
  if (model.kind === 'checking') return fetchingLine();
  return model.kind === 'loading' ? loadingLine(model.progress) : paintingLine(running?.progress);
}

function showPreview(image: ImageData | undefined): void {
  if (image === undefined) return;
  const isAnother = preview.width !== image.width || preview.height !== image.height;
  if (isAnother) Object.assign(preview, { width: image.width, height: image.height });
  preview.getContext('2d')?.putImageData(image, 0, 0);
  if (isAnother) fitLayers();
}

function render(now: Readonly<State>): void {
  const { model, running, queue } = now;
  const isAwaited = model.kind === 'checking' && queue.length > 0;
  panel.hidden = !isAwaited && model.kind !== 'loading' && running === undefined;
  if (panel.hidden) return;
  const { text, value } = line(now);
  say(words, text);
  if (value === undefined) bar.removeAttribute('value');
  else bar.value = value;
}

export function startProgress(): void {
  byId('cancel', HTMLButtonElement).addEventListener('click', () => {
    byId('prompt', HTMLTextAreaElement).focus({ preventScroll: true });
    cancel();
  });
  watch((now) => now.model, (_, now) => render(now));
  watch((now) => now.running, (_, now) => render(now));
  watch((now) => now.queue, (_, now) => render(now));
  watch((now) => now.running?.progress?.preview, showPreview);
  watch(
    (now) => now.running?.progress?.phase,
    (phase) => phase && announce(PHASES[phase]),
  );
}
