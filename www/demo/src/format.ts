/** Numbers as people read them: bytes, seconds, sizes. English, as the page is. */

/** `11.8 MB`, in the powers of 1000 that download dialogs use. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 1_000_000) return `${Math.round(count / 1000)} kB`;
  if (count < 1_000_000_000) return `${(count / 1_000_000).toFixed(1)} MB`;
  return `${(count / 1_000_000_000).toFixed(2)} GB`;
}

/** A span already over: `84 ms`, `1.24 s`, `2 min 5 s`. */
export function milliseconds(count: number): string {
  if (count < 1000) return `${Math.round(count)} ms`;
  if (count < 60_000) return `${(count / 1000).toFixed(count < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(count / 60_000)} min ${Math.round((count % 60_000) / 1000)} s`;
}

/** A span still to come, no more exact than it can be. */
export function remaining(seconds: number): string {
  if (seconds < 1.5) return '1 s left';
  if (seconds < 90) return `${Math.round(seconds)} s left`;
  return `${Math.round(seconds / 60)} min left`;
}

/** `64 × 64`. */
export function size(width: number, height: number): string {
  return `${width} × ${height}`;
}

/** `1 picture`, `2 pictures`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
