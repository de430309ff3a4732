/** All that a page needs to paint. Every consumer here has it as `src/paint.js`. */

import { createPipeline } from '@x2i/web';

export async function paint() {
  const outcome = document.querySelector('output');
  try {
    const x2i = await createPipeline({ model: 'emoji', device: 'cpu' });
    const { image } = await x2i.generate({ prompt: '蓝色背景上的红苹果', seed: 7 }).result;
    const canvas = document.querySelector('canvas');
    canvas.width = image.width;
    canvas.height = image.height;
    canvas.getContext('2d').drawImage(image, 0, 0);
    outcome.textContent = 'done';
  } catch (error) {
    outcome.textContent = `${error.code}: ${error.message}`;
  }
}
