/** The code that does what the page does, with buttons that copy it. */

import { copyText } from './copy';
import { byId } from './dom';

const CODE = `import { createPipeline } from '@x2i/web';

const x2i = await createPipeline({ model: 'emoji' });
const generation = x2i.generate({ prompt: '蓝色背景上的红苹果', seed: 7 });
for await (const { phase, step, steps } of generation) {
  console.log(phase, step, steps);
}

const { image, answer } = await generation.result;
console.log(answer); // red apple on a blue background, noto style
const canvas = document.querySelector('canvas');
canvas.getContext('bitmaprenderer').transferFromImageBitmap(image);`;

export function startUse(): void {
  byId('use-code', HTMLElement).textContent = CODE;
  for (const button of document.querySelectorAll<HTMLButtonElement>('[data-copies]')) {
    const from = byId(button.dataset['copies'] ?? '', HTMLElement);
    button.setAttribute('aria-label', `Copy: ${from.id === 'use-code' ? 'JavaScript' : 'commands'}`);
    button.addEventListener('click', () => void copyText(from.textContent ?? '', 'The code'));
  }
}
