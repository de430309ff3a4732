/**
 * Small pictures as they are: every pixel a square of whole pixels of the screen, as many as the frame has room for.
 * Larger pictures fill the frame, smoothed.
 */

import { byId } from './dom';

const frame = byId('frame', HTMLDivElement);
const LAYERS = ['picture', 'preview'] as const;

/** Smaller than what fills a frame: such a picture is enlarged. */
export function isSmall({ width, height }: { width: number; height: number }): boolean {
  return Math.max(width, height) <= 256;
}

function natural(layer: HTMLElement): [width: number, height: number] {
  return layer instanceof HTMLImageElement ? [layer.naturalWidth, layer.naturalHeight] : [(layer as HTMLCanvasElement).width, (layer as HTMLCanvasElement).height];
}

/** Gives a layer of the frame its size. */
function fit(layer: HTMLElement): void {
  const [width, height] = natural(layer);
  if (width === 0 || frame.clientWidth === 0) return;
  const room = Math.min(frame.clientWidth / width, frame.clientHeight / height);
  const scale = room < 1 ? room : Math.floor(room);
  layer.classList.toggle('crisp', room >= 1);
  layer.style.inlineSize = `${width * scale}px`;
  layer.style.blockSize = `${height * scale}px`;
}

/** Fits all layers; to be called when one has another picture. */
export function fitLayers(): void {
  for (const id of LAYERS) fit(byId(id, HTMLElement));
}

export function startCrisp(): void {
  byId('picture', HTMLImageElement).addEventListener('load', fitLayers);
  new ResizeObserver(fitLayers).observe(frame);
}
