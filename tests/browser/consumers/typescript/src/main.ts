/** What a page in TypeScript writes; it is compiled and not run. */

import { createPipeline, type GenerateOptions, type Painting, X2iError } from '@x2i/web';
import type { X2iImage } from '@x2i/web/element';
import { useX2i } from '@x2i/web/react';

export async function paint(file: File, image: HTMLImageElement, canvas: OffscreenCanvas): Promise<Painting<'blob'>[]> {
  using x2i = await createPipeline({ model: 'emoji', share: true });
  const prompt: GenerateOptions['prompt'] = [{ image: file }, { image }, { image: canvas }, { image: '/a.png' }, 'text'];
  try {
    const run = x2i.generate({ prompt, seed: 7n, numImages: 2, output: 'blob' });
    for await (const { phase, preview, index } of run) console.log(phase, preview?.width, index);
    return (await run.result).images;
  } catch (error) {
    if (error instanceof X2iError && error.code === 'quota') return [];
    throw error;
  }
}

export function Component(): string {
  const { status, generate } = useX2i({ model: new URL('https://example.org/') });
  void generate({ prompt: 'a', output: 'pixels' }).then((result) => result?.image.length);
  return status;
}

export const element: X2iImage = document.createElement('x2i-image');
