/**
 * Reads sizes of memory, in the native program's words.
 *
 * @module
 */

import { X2iError } from './errors.js';
import type { PipelineOptions } from './types.js';

/** Units by their names in lower case: K, M, G and T are binary, as in `3G`. */
const UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  m: 2 ** 20,
  mib: 2 ** 20,
  g: 2 ** 30,
  gib: 2 ** 30,
  t: 2 ** 40,
  tib: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/** The limit in bytes, where there is one. */
export function readMemory({ maxDeviceMemory }: PipelineOptions): { maxDeviceMemory?: number } {
  if (maxDeviceMemory === undefined) return {};
  const bytes = typeof maxDeviceMemory === 'string' ? bytesOf(maxDeviceMemory) : maxDeviceMemory;
  if (Number.isSafeInteger(bytes) && bytes > 0) return { maxDeviceMemory: bytes };
  throw new X2iError(
    'request',
    `maxDeviceMemory is ${maxDeviceMemory}; expected a size, such as '3GiB', '3G', '3000M' or a number of bytes`,
  );
}

function bytesOf(text: string): number {
  const [, number = '', unit = ''] = /^([\d.]+)\s*([a-z]*)$/i.exec(text) ?? [];
  return Math.floor(Number(number || Number.NaN) * (UNITS[unit.toLowerCase()] ?? Number.NaN));
}
