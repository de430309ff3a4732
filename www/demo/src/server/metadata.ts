/** The record in a PNG, as JSON in an iTXt chunk named `x2i`. Layout: the PNG specification, 5.3 and 11.3.3.4. */

import { X2iError } from '../../../src/errors.js';
import type { Metadata } from '../../../src/types.js';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const KEYWORD = 'x2i\0';
/** Behind the keyword: two bytes of compression, then a language and a translated keyword, each ended by a zero. */
const COMPRESSION = 2;

/** The record of a picture; `undefined` for a PNG without one. */
export async function readMetadata(png: Blob): Promise<Metadata | undefined> {
  const bytes = new Uint8Array(await png.arrayBuffer());
  const text = (from: number, to: number) => new TextDecoder('latin1').decode(bytes.subarray(from, to));
  if (!SIGNATURE.every((byte, at) => bytes[at] === byte)) throw new X2iError('image', 'the file is no PNG');
  const view = new DataView(bytes.buffer);
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const begin = at + 8;
    const end = begin + view.getUint32(at);
    const isRecord = text(at + 4, begin) === 'iTXt' && text(begin, begin + KEYWORD.length) === KEYWORD;
    if (isRecord && end <= bytes.length) return record(bytes.subarray(begin + KEYWORD.length, end));
  }
  return undefined;
}

function record(chunk: Uint8Array): Metadata | undefined {
  if (chunk[0] !== 0) return undefined; // ours are not compressed
  const language = chunk.indexOf(0, COMPRESSION);
  const translated = chunk.indexOf(0, language + 1);
  return parse(new TextDecoder().decode(chunk.subarray(translated + 1)));
}

/** JSON whose seed may be too large for a number. */
function parse(json: string): Metadata {
  const metadata = JSON.parse(json) as Metadata;
  const seed = /"seed":\s*(\d+)/.exec(json)?.[1];
  if (seed !== undefined && !Number.isSafeInteger(metadata.seed)) metadata.seed = BigInt(seed);
  return metadata;
}
