/**
 * GGUF files that exist nowhere: a header, and tensors of made-up numbers.
 *
 * @module
 */

import { Readable } from 'node:stream';
import type { Content } from '../server.ts';
import { byteLength, bytesOf, type Tensor, TYPES, typeOf } from './numbers.ts';

const ALIGNMENT = 32;
/** The type of a metadata value. */
const STRING = 8;

/** A file of these tensors. */
export function ggufOf(architecture: string, tensors: Tensor[]): Content {
  const parts: Buffer[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(1)];
  const string = (text: string): void => void parts.push(u64(Buffer.byteLength(text)), Buffer.from(text));
  string('general.architecture');
  parts.push(u32(STRING));
  string(architecture);
  const starts: number[] = [];
  let offset = 0;
  for (const tensor of tensors) {
    const { name, shape } = tensor;
    string(name);
    parts.push(u32(shape.length), ...shape.toReversed().map(u64), u32(TYPES[typeOf(tensor)].id), u64(offset));
    starts.push(offset);
    offset = align(offset + byteLength(tensor));
  }
  const header = Buffer.concat(parts);
  const padded = Buffer.concat([header, Buffer.alloc(align(header.length) - header.length)]);
  const at = starts.map((start) => padded.length + start);
  return {
    size: padded.length + offset,
    read: (from, to) => Readable.from(contentOf(padded, tensors, at, from, to), { objectMode: false, highWaterMark: 1 << 20 }),
  };
}

function* contentOf(header: Buffer, tensors: Tensor[], starts: number[], from: number, to: number): Generator<Buffer> {
  if (from < header.length) yield header.subarray(from, Math.min(to, header.length));
  for (const [index, tensor] of tensors.entries()) {
    const start = starts[index] as number;
    const length = byteLength(tensor);
    const [first, end] = [Math.max(from, start) - start, Math.min(to, start + align(length)) - start];
    if (first >= end) continue;
    if (first < length) yield* bytesOf(tensor, index, first, Math.min(end, length));
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
