/**
 * Files for prompts, made in the test: pictures, sounds, videos and weights, small and the same every time.
 *
 * @module
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { ROOT } from './runtime.ts';

/** An empty folder that the system removes. */
export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'x2i-media-'));
}

/** A disc on a plain ground, as PNG. */
export function writePng(path: string, ground = [40, 90, 220], disc = [220, 30, 40]): void {
  writePixels(path, (inside) => [...(inside ? disc : ground), 255]);
}

/** A disc on a ground that is fully transparent on the left and opaque on the right, as PNG. */
export function writeClearPng(path: string): void {
  writePixels(path, (inside, share) => (inside ? [220, 30, 40, 255] : [40, 90, 220, Math.round(255 * share)]));
}

/** `color` knows whether the pixel lies in the disc, and how far to the right, from 0 to 1. */
function writePixels(path: string, color: (inside: boolean, share: number) => number[]): void {
  const side = 96;
  const png = new PNG({ width: side, height: side });
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const inside = Math.hypot(x - side / 2, y - side / 2) < side / 3;
      png.data.set(color(inside, x / (side - 1)), (y * side + x) * 4);
    }
  }
  writeFileSync(path, PNG.sync.write(png));
}

/** A tone that rises and falls, 16 bits. */
export function writeWav(path: string, sampleRate = 16_000, length = 2): void {
  const count = length * sampleRate;
  const file = Buffer.alloc(44 + 2 * count);
  file.write('RIFF', 0);
  file.writeUInt32LE(36 + 2 * count, 4);
  file.write('WAVEfmt ', 8);
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20); // whole numbers
  file.writeUInt16LE(1, 22); // channels
  file.writeUInt32LE(sampleRate, 24);
  file.writeUInt32LE(2 * sampleRate, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write('data', 36);
  file.writeUInt32LE(2 * count, 40);
  for (let at = 0; at < count; at++) {
    const seconds = at / sampleRate;
    file.writeInt16LE(Math.round(12_000 * Math.sin(2000 * Math.sin(seconds))), 44 + 2 * at);
  }
  writeFileSync(path, file);
}

/** Whether videos can be made. */
export function hasFfmpeg(): boolean {
  try {
    execFileSync('ffmpeg', ['-version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Three seconds of a moving pattern; the name's end says in which format. */
export function writeVideo(path: string, ...options: string[]): void {
  const source = ['-f', 'lavfi', '-i', 'testsrc=size=128x96:rate=10:duration=3'];
  execFileSync('ffmpeg', ['-v', 'error', '-y', ...source, ...options, path]);
}

/** A photograph that its EXIF turns by a quarter. */
export function writeTurnedJpeg(path: string): void {
  execFileSync('ffmpeg', ['-v', 'error', '-y', '-f', 'lavfi', '-i', 'testsrc=size=128x64', '-frames:v', '1', path]);
  const jpeg = readFileSync(path);
  // TIFF, big-endian: one entry, orientation (274), a short, 6.
  const tiff = '4d4d002a00000008' + '0001' + '0112000300000001' + '00060000' + '00000000';
  const body = Buffer.concat([Buffer.from('Exif\0\0'), Buffer.from(tiff, 'hex')]);
  const head = Buffer.from([0xff, 0xe1, 0, body.length + 2]);
  writeFileSync(path, Buffer.concat([jpeg.subarray(0, 2), head, body, jpeg.subarray(2)]));
}

/** f32 tensors of -0.06, -0.03, 0, 0.03, 0.06, -0.06, ... in a safetensors file. */
export function writeWeights(path: string, tensors: Record<string, number[]>): void {
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, shape] of Object.entries(tensors)) {
    const start = end;
    end += 4 * shape.reduce((product, side) => product * side, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [start, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const numbers = Object.values(tensors).flatMap((shape) => {
    const count = shape.reduce((product, side) => product * side, 1);
    return Array.from({ length: count }, (_, at) => (at % 5) * 0.03 - 0.06);
  });
  writeFileSync(path, Buffer.concat([length, json, Buffer.from(Float32Array.from(numbers).buffer)]));
}

/** A LoRA of rank 2 on the queries of the first block. */
export function writeLora(path: string, hidden: number): void {
  const module = 'transformer.transformer_blocks.0.attn.to_q';
  writeWeights(path, { [`${module}.lora_A.weight`]: [2, hidden], [`${module}.lora_B.weight`]: [hidden, 2] });
}

/** LightControl's net for the first block, of the reference's small sizes. */
export function writeControl(path: string, hidden: number): void {
  const golden = join(ROOT, 'tests/goldens/lightcontrol_tiny/state_dict_shapes.json');
  const shapes: Record<string, number[]> = JSON.parse(readFileSync(golden, 'utf8'));
  const first = Object.entries(shapes).filter(([name]) => name.startsWith('0.'));
  writeWeights(
    path,
    Object.fromEntries(
      first.map(([name, shape]) => [name, name.startsWith('0.mid_convs.1.') ? [hidden, ...shape.slice(1)] : shape]),
    ),
  );
}
