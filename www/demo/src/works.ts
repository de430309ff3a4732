/** The way of a prompt to its picture, with the numbers of the picture that is painted now or is shown. */

import type { Painting } from '@x2i/web';
import { isEmoji } from './about';
import { byId, make, say } from './dom';
import { count, milliseconds, size } from './format';
import { state, watch, type State } from './state';
import type { Picture } from './store';
import { NO_WORK, type Work } from './work';

const list = byId('works', HTMLOListElement);
const note = byId('works-note', HTMLParagraphElement);

/** Numbers of one picture, as far as they are known. */
interface Run {
  text: string;
  work: Work;
  phase?: 'encode' | 'denoise' | 'decode';
  timings?: Painting['timings'];
  size?: string;
}

interface Stage {
  title: string;
  /** What it is in the embedded model, and in any other. */
  emoji: string;
  other: string;
  phase?: Run['phase'];
  /** What this run did there. */
  tell: (run: Run) => string;
}

/** A phase of a server's picture that nobody heard of has no time. */
const time = (spent = 0): string => (spent === 0 ? '' : milliseconds(spent));
const join = (...parts: string[]): string => parts.filter((part) => part !== '').join(', ');

const STAGES: readonly Stage[] = [
  {
    title: 'Your words',
    emoji: 'One vocabulary of 4,114 tokens for eight languages.',
    other: 'Text, pictures, videos or sounds, in order.',
    tell: ({ text }) => (text === '' ? '' : count([...text].length, 'character')),
  },
  {
    title: 'Language model',
    emoji: '6 layers, 4.5 million weights. It reads the words and answers in English what it understood.',
    other: 'A multimodal LLM reads them.',
    phase: 'encode',
    tell: ({ work, timings }) => join(work.tokens > 0 ? `answered in ${count(work.tokens, 'token')}` : '', time(timings?.encode)),
  },
  {
    title: 'AlignNet',
    emoji: '0.17 million weights turn the hidden states of the answer, from 7 depths, into what the painter reads.',
    other: 'A small network turns its hidden states into what the painter reads.',
    phase: 'encode',
    tell: ({ timings }) => (timings?.encode ? 'in the time of the language model' : ''),
  },
  {
    title: 'Diffusion transformer',
    emoji: 'FLUX with 2 double and 4 single blocks. Each step takes noise away.',
    other: 'FLUX takes noise away, step by step.',
    phase: 'denoise',
    tell: ({ work, timings }) =>
      join(work.steps > 0 ? `step ${work.step} of ${work.steps}` : '', work.allBlocks > 0 ? `${work.blocks} of ${work.allBlocks} blocks` : '', time(timings?.denoise)),
  },
  {
    title: 'Decoder',
    emoji: 'A VAE makes 64 × 64 pixels of 8 × 8 latents.',
    other: 'A VAE makes pixels of latents.',
    phase: 'decode',
    tell: ({ timings, size: pixels = '' }) => join(pixels, time(timings?.decode)),
  },
];

function ofPicture({ text, work = NO_WORK, timings, width, height }: Picture): Run {
  return { text, work, timings, size: size(width, height) };
}

function runOf({ running, shown }: Readonly<State>): Run | undefined {
  if (running) return { text: running.job.text, work: running.work, phase: running.progress?.phase ?? 'encode' };
  return shown.kind === 'picture' ? ofPicture(shown.picture) : undefined;
}

function render(): void {
  const run = runOf(state());
  const isLive = run?.phase !== undefined;
  for (const [index, stage] of STAGES.entries()) {
    const item = list.children[index] as HTMLElement;
    const [, what, did] = item.children as unknown as [HTMLElement, HTMLElement, HTMLElement];
    say(what, isEmoji() ? stage.emoji : stage.other);
    say(did, run === undefined ? '' : stage.tell(run));
    item.classList.toggle('now', isLive && stage.phase === run.phase);
  }
  const total = run?.timings === undefined ? '' : `The picture above took ${milliseconds(run.timings.total)}.`;
  say(note, isLive ? 'This is your picture, now.' : total || 'The numbers of your picture appear here while it is painted.');
}

export function startWorks(): void {
  list.append(...STAGES.map(({ title }) => make('li', {}, make('h3', {}, title), make('p', {}), make('p', { class: 'did' }))));
  watch((now) => now.running, render);
  watch((now) => now.shown, render);
  watch((now) => now.model.kind, render);
}
