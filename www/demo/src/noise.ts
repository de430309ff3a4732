/** The empty easel: eight by eight soft colours from a seed, as latents look before the first step. */

import { byId } from './dom';

/** The embedded model's backgrounds. */
const COLOURS = ['#d63c3c', '#fad650', '#5ab464', '#4678dc', '#8c5ac8', '#faaac8', '#fafafa', '#f0e6da'];
const SIDE = 8;

/** Mulberry32: small, and the same on every device. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function drawNoise(seed: number | bigint): void {
  const context = byId('noise', HTMLCanvasElement).getContext('2d');
  if (context === null) return;
  const random = randomFrom(Number(BigInt.asUintN(32, BigInt(seed))));
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      context.fillStyle = COLOURS[Math.floor(random() * COLOURS.length)] ?? '#fafafa';
      context.fillRect(x, y, 1, 1);
    }
  }
}
