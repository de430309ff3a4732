/**
 * A model of more than 4 GiB that exists nowhere: the embedded model's parts around a FLUX of the published width,
 * whose Q8_0 weights are made up as they are asked for.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { EMOJI } from './runtime.ts';
import { bytesContent, type Content, contentAt, fileContent, type Hook } from './server.ts';

const HEADS = 24;
const HEAD_DIM = 128;
const DOUBLE_BLOCKS = 2;
const SINGLE_BLOCKS = 26;
const ALIGNMENT = 32;
const GGML = { F32: 0, Q8_0: 8 } as const;

interface Tensor {
  name: string;
  /** Rows first, as in PyTorch. */
  shape: number[];
}

/** The model: its size, and hooks that serve its files below a path. */
export async function largeModel(): Promise<{ bytes: number; hooks(path: string): Hook[] }> {
  const config = JSON.parse(await readFile(join(EMOJI, 'model.json'), 'utf8'));
  const small = config.flux.config;
  config.name = 'large';
  config.flux.config = {
    ...small,
    num_layers: DOUBLE_BLOCKS,
    num_single_layers: SINGLE_BLOCKS,
    num_attention_heads: HEADS,
    attention_head_dim: HEAD_DIM,
    axes_dims_rope: [16, 56, 56],
  };
  delete config.files['flux.gguf'];
  const flux = ggufOf(fluxTensors(small.in_channels, small.joint_attention_dim, small.pooled_projection_dim));
  const others = ['encoder.gguf', 'align_net.gguf', 'vae.gguf', 'tokenizer.json'];
  const contents: Record<string, Content | undefined> = {
    'model.json': bytesContent(Buffer.from(JSON.stringify(config)), 'application/json'),
    'flux.gguf': flux,
  };
  for (const name of others) contents[name] = await fileContent(join(EMOJI, name));
  const hooks = (path: string): Hook[] =>
    Object.entries(contents).map(([name, content]) => contentAt(path + name, content as Content));
  return { bytes: flux.size, hooks };
}

/** The names and shapes of BFL's checkpoint. */
function fluxTensors(channels: number, text: number, pooled: number): Tensor[] {
  const width = HEADS * HEAD_DIM;
  const linear = (name: string, input: number, output: number): Tensor[] => [
    { name: `${name}.weight`, shape: [output, input] },
    { name: `${name}.bias`, shape: [output] },
  ];
  const scales = (name: string): Tensor[] =>
    ['query_norm', 'key_norm'].map((norm) => ({ name: `${name}.${norm}.scale`, shape: [HEAD_DIM] }));
  const embedder = (name: string, input: number): Tensor[] => [
    ...linear(`${name}.in_layer`, input, width),
    ...linear(`${name}.out_layer`, width, width),
  ];
  const stream = (block: string, name: string): Tensor[] => [
    ...linear(`${block}.${name}_mod.lin`, width, 6 * width),
    ...linear(`${block}.${name}_attn.qkv`, width, 3 * width),
    ...scales(`${block}.${name}_attn.norm`),
    ...linear(`${block}.${name}_attn.proj`, width, width),
    ...linear(`${block}.${name}_mlp.0`, width, 4 * width),
    ...linear(`${block}.${name}_mlp.2`, 4 * width, width),
  ];
  const double = (index: number): Tensor[] => ['img', 'txt'].flatMap((name) => stream(`double_blocks.${index}`, name));
  const single = (index: number): Tensor[] => [
    ...linear(`single_blocks.${index}.modulation.lin`, width, 3 * width),
    ...linear(`single_blocks.${index}.linear1`, width, 7 * width),
    ...linear(`single_blocks.${index}.linear2`, 5 * width, width),
    ...scales(`single_blocks.${index}.norm`),
  ];
  return [
    ...linear('img_in', channels, width),
    ...linear('txt_in', text, width),
    ...embedder('time_in', 256),
    ...embedder('vector_in', pooled),
    ...Array.from({ length: DOUBLE_BLOCKS }, (_, index) => double(index)).flat(),
    ...Array.from({ length: SINGLE_BLOCKS }, (_, index) => single(index)).flat(),
    ...linear('final_layer.linear', width, channels),
    ...linear('final_layer.adaLN_modulation.1', width, 2 * width),
  ];
}

/** A GGUF file of these tensors: matrices in Q8_0, the rest in F32. */
function ggufOf(tensors: Tensor[]): Content {
  const parts: Buffer[] = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(1)];
  const string = (text: string): void => void parts.push(u64(Buffer.byteLength(text)), Buffer.from(text));
  string('general.architecture');
  parts.push(u32(8)); // a string
  string('flux');
  let offset = 0;
  for (const { name, shape } of tensors) {
    const numbers = shape.reduce((product, side) => product * side, 1);
    const isMatrix = shape.length > 1;
    string(name);
    parts.push(u32(shape.length), ...shape.toReversed().map(u64), u32(isMatrix ? GGML.Q8_0 : GGML.F32), u64(offset));
    offset += align(isMatrix ? (numbers / 32) * 34 : numbers * 4);
  }
  const header = Buffer.concat(parts);
  const start = align(header.length);
  return { size: start + offset, read: (from, to) => Readable.from(bytesOf(header, start, from, to)) };
}

/** The header, then small numbers: as a Q8_0 block or as f32 every value of them is finite. */
function* bytesOf(header: Buffer, start: number, from: number, to: number): Generator<Buffer> {
  const piece = Buffer.alloc(1 << 20, 1);
  for (let at = from; at < to; ) {
    if (at < header.length) yield header.subarray(at, Math.min(to, header.length));
    else if (at < start) yield Buffer.alloc(Math.min(to, start) - at);
    else yield piece.subarray(0, Math.min(piece.length, to - at));
    at = at < header.length ? header.length : at < start ? start : at + piece.length;
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
