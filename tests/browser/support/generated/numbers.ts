/**
 * Weights that are made up as they are asked for: pieces of random blocks that repeat, the same bytes for the same
 * range in every run.
 *
 * Numbers are as large as trained ones, so that pictures are noise and never NaN: a matrix's keep the size of what goes
 * through it. Left out: any likeness to a trained model.
 *
 * @module
 */

/** Types as ggml numbers them, and bytes of a block of so many numbers. */
export const TYPES = {
  F32: { id: 0, numbers: 1, bytes: 4 },
  F16: { id: 1, numbers: 1, bytes: 2 },
  Q4_0: { id: 2, numbers: 32, bytes: 18 },
  Q8_0: { id: 8, numbers: 32, bytes: 34 },
} as const;

export type Type = keyof typeof TYPES;

/** A tensor in a file; rows first, as in PyTorch. */
export interface Tensor {
  name: string;
  shape: number[];
}

/** Blocks of a piece: a prime, so that no two rows of a matrix are equal. */
const BLOCKS = 65_521;
/** Roots of the mean squares of a block's random whole numbers. */
const SPREAD = { F16: 1, Q4_0: 4.637, Q8_0: 73.9 };

const pieces = new Map<string, Buffer>();

/** How a tensor is stored: matrices in blocks where their rows are whole ones, else in f16; vectors in f32. */
export function typeOf({ shape }: Tensor, blocks: 'Q4_0' | 'Q8_0'): Type {
  if (shape.length < 2) return 'F32';
  return shape.length === 2 && (shape[1] as number) % TYPES[blocks].numbers === 0 ? blocks : 'F16';
}

/** Bytes of a tensor. */
export function byteLength(tensor: Tensor, type: Type): number {
  const { numbers, bytes } = TYPES[type];
  return (tensor.shape.reduce((product, side) => product * side, 1) / numbers) * bytes;
}

/** The bytes of a tensor from `from` up to and without `to`; `index` tells it from others of its shape. */
export function* bytesOf(tensor: Tensor, type: Type, index: number, from: number, to: number): Generator<Buffer> {
  const piece = pieceOf(type, deviationOf(tensor));
  const shift = ((index * 7919) % BLOCKS) * TYPES[type].bytes;
  for (let at = from; at < to; ) {
    const inside = (at + shift) % piece.length;
    const end = Math.min(piece.length, inside + to - at);
    yield piece.subarray(inside, end);
    at += end - inside;
  }
}

/** The spread of a matrix's numbers; a norm's scale is 1, a bias 0. */
function deviationOf({ name, shape }: Tensor): number {
  if (shape.length < 2) return name.endsWith('.bias') ? 0 : 1;
  const inputs = shape.slice(1).reduce((product, side) => product * side, 1);
  // Modulations are small, so that no block dominates the others.
  return (name.includes('mod') ? 0.5 : 1) / Math.sqrt(inputs);
}

function pieceOf(type: Type, deviation: number): Buffer {
  const key = `${type} ${deviation}`;
  const made = pieces.get(key) ?? makePiece(type, deviation);
  pieces.set(key, made);
  return made;
}

function makePiece(type: Type, deviation: number): Buffer {
  const { bytes } = TYPES[type];
  const piece = Buffer.alloc(BLOCKS * bytes);
  const random = xorshift(Math.round(deviation * 1e6) + 1);
  for (let at = 0; at < piece.length; at += bytes) {
    if (type === 'F32') {
      piece.writeFloatLE(deviation, at);
      continue;
    }
    // A random sign makes the mean 0.
    const sign = random() & 0x8000;
    piece.writeUInt16LE(half(deviation / SPREAD[type]) | sign, at);
    if (type !== 'F16') for (let word = 2; word < bytes; word += 4) piece.writeUInt32LE(random(), at + word);
  }
  return piece;
}

/** A normal number above 0 as f16. */
function half(value: number): number {
  const exponent = Math.floor(Math.log2(value));
  const mantissa = Math.round((value / 2 ** exponent - 1) * 1024);
  return ((exponent + 15) << 10) + mantissa;
}

/** 32 random bits a call, the same for the same seed. */
function xorshift(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}
