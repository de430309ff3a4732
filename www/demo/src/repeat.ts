/** A picture made by x2i, given back: its metadata fills the form and paints it again. */

import { readMetadata, type Metadata } from '@x2i/web';
import { languageOf } from './examples';
import { fillPrompt } from './form';
import { inform } from './notice';
import { fillSettings } from './settings';
import { state } from './state';
import { paint } from './studio';

/** Repeats the picture; false if it is none of x2i's. */
export async function repeat(file: Blob): Promise<boolean> {
  if (file.type !== 'image/png') return false;
  const metadata = await readMetadata(file).catch(() => undefined);
  if (metadata === undefined) return false;
  const text = metadata.prompt.flatMap((part) => ('text' in part ? [part.text] : [])).join(' ');
  fillPrompt(text);
  fillSettings(metadata);
  if (metadata.prompt.some((part) => !('text' in part)) || metadata.init || metadata.control) {
    inform('This picture was painted from other files.', 'A PNG does not hold those: add them to the prompt, then paint.');
    return true;
  }
  paintAgain(metadata, text);
  const { model } = state();
  if (model.kind === 'ready' && model.model.name !== metadata.model.name) {
    inform(`This picture was painted by “${metadata.model.name}”.`, `“${model.model.name}” will paint another one.`);
  }
  return true;
}

function paintAgain(metadata: Metadata, text: string): void {
  const { seed, steps, width, height, guidance, cache = 'off', conditioning } = metadata;
  paint({
    text,
    lang: languageOf(text, 'en'),
    parts: [{ text }],
    options: { seed, steps, width, height, guidance, cache, conditioning },
  });
}
