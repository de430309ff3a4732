/** What can be counted of one picture while it is painted: tokens of the answer, transformer blocks, steps. */

import type { StepProgress } from '@x2i/web';

/** Zero where it was not told. */
export interface Work {
  /** Tokens that the language model answered with. */
  tokens: number;
  /** Transformer blocks that ran, over all steps, and how many there are. */
  blocks: number;
  allBlocks: number;
  step: number;
  steps: number;
}

export const NO_WORK: Work = { tokens: 0, blocks: 0, allBlocks: 0, step: 0, steps: 0 };

/** What is known after one more event. */
export function count(work: Work, { phase, done, total, step, steps }: StepProgress): Work {
  // The last event of the phase says `total`, which is the most tokens that an answer may have.
  if (phase === 'encode') return done < total ? { ...work, tokens: Math.max(work.tokens, done) } : work;
  // A server that counts in shares of the whole knows no blocks.
  if (phase === 'denoise') return total > 1 ? { ...work, blocks: done, allBlocks: total, step, steps } : { ...work, step, steps };
  return { ...work, blocks: work.allBlocks, step: steps, steps };
}
