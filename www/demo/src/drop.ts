/** Dropping onto the page and pasting: a PNG made by x2i is repeated, all else goes into the prompt. */

import { attach } from './attach';
import { byId } from './dom';
import { inform } from './notice';
import { repeat } from './repeat';

const veil = byId('drop', HTMLDivElement);

function media(from: DataTransfer | null): File[] {
  return [...(from?.files ?? [])].filter((file) => /^(image|video|audio)\//.test(file.type));
}

async function take(files: readonly File[]): Promise<void> {
  const others: File[] = [];
  for (const file of files) {
    if (!(await repeat(file))) others.push(file);
  }
  if (others.length > 0) await attach(others);
}

export function startDrop(): void {
  document.addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  });
  document.addEventListener('drop', (event) => {
    veil.hidden = true;
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    const files = media(event.dataTransfer);
    if (files.length === 0) inform('That is no picture, video or sound.', 'Drop a PNG made by x2i to paint it again.');
    void take(files);
  });
  document.addEventListener('paste', (event) => {
    const files = media(event.clipboardData);
    if (files.length === 0) return;
    event.preventDefault();
    void take(files);
  });
}
