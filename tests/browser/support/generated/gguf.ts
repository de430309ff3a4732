/**
 * GGUF files that exist nowhere: a header, and tensors of made-up numbers.
 *
 * @module
 */

import { Readable } from 'node:stream';
import type { Content } from '../server.ts';
import { byteLength, bytesOf, type Tensor, type Type, TYPES, typeOf } from './numbers.ts';

const ALIGNMENT = 32;
/** The type of a metadata value. */
const STRING = 8;

/** A file of these tensors, matrices in `blocks`. */
export function ggufOf(architecture: string, tensors: Tensor[], blocks: 'Q4_0' | 'Q8_0' = 'Q4_0'): Content {
  const parts: Buffer[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(1)];
  const string = (text: string): void => void parts.push(u64(Buffer.byteLength(text)), Buffer.from(text));
  string('general.architecture');
  parts.push(u32(STRING));
  string(architecture);
  const placed: Placed[] = [];
  let offset = 0;
  for (const tensor of tensors) {
    const type = typeOf(tensor, blocks);
    const length = byteLength(tensor, type);
    string(tensor.name);
    parts.push(u32(tensor.shape.length), ...tensor.shape.toReversed().map(u64), u32(TYPES[type].id), u64(offset));
    placed.push({ tensor, type, start: offset, length });
    offset = align(offset + length);
  }
  const all = Buffer.concat(parts);
  const header = Buffer.concat([all, Buffer.alloc(align(all.length) - all.length)]);
  const read = (from: number, to: number): Readable =>
    Readable.from(contentOf(header, placed, from, to), { objectMode: false, highWaterMark: 1 << 20 });
  return { size: header.length + offset, read };
}

/** A tensor, and where it stands behind the header. */
interface Placed {
  tensor: Tensor;
  type: Type;
  start: number;
  length: number;
}

function* contentOf(header: Buffer, placed: Placed[], from: number, to: number): Generator<Buffer> {
  if (from < header.length) yield header.subarray(from, Math.min(to, header.length));
  for (const [index, { tensor, type, start, length }] of placed.entries()) {
    const at = header.length + start;
    const [first, end] = [Math.max(from, at) - at, Math.min(to, at + align(length)) - at];
    if (first >= end) continue;
    if (first < length) yield* bytesOf(tensor, type, index, first, Math.min(end, length));
    if (end > length) yield Buffer.alloc(end - Math.max(first, length));
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
