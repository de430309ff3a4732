/** The easel: decides what hangs on it, nothing yet, the work, or a picture. */

import { byId, say } from './dom';
import { nameOf } from './names';
import { drawNoise } from './noise';
import { state, watch, type Shown, type State } from './state';
import { urlOf } from './store';

const picture = byId('picture', HTMLImageElement);
const preview = byId('preview', HTMLCanvasElement);

/** What an easel without a picture says. */
const HINTS: Partial<Record<State['model']['kind'], string>> = {
  checking: 'One moment',
  ready: 'Pick an example, or say it in your own words.',
  failed: 'There is no model to paint with.',
};

function showPicture(shown: Shown): void {
  if (shown.kind !== 'picture') return;
  const url = urlOf(shown.picture.png);
  picture.src = url;
  picture.alt = nameOf(shown.picture);
  picture.lang = shown.picture.lang;
}

/** Which layer of the frame is seen. */
function choose({ model, running, shown }: Readonly<State>): void {
  const working = running !== undefined && shown.kind !== 'compare';
  const previewed = working && running.progress?.preview !== undefined;
  const hung = shown.kind === 'picture' && !working;
  preview.hidden = !previewed;
  picture.hidden = !hung;
  byId('noise', HTMLCanvasElement).hidden = previewed || hung;
  const hint = working || shown.kind !== 'nothing' ? undefined : HINTS[model.kind];
  byId('hint', HTMLDivElement).hidden = hint === undefined;
  say(byId('hint-text', HTMLParagraphElement), hint ?? '');
}

export function startStage(): void {
  drawNoise(7);
  watch((now) => now.shown, showPicture);
  for (const part of [(now: State) => now.model, (now: State) => now.shown, (now: State) => now.running]) {
    watch<unknown>(part, () => choose(state()));
  }
  watch((now) => now.running?.job, (job) => job && drawNoise(job.options.seed ?? job.id));
}
