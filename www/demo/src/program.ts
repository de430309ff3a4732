/**
 * How much of the page's own code a visit downloads, in bytes as they travel. The build counts the files, plain and as
 * gzip (`vite.config.ts`); whether this server compresses is seen on the page's own script.
 */

interface Sizes {
  plain: number;
  gzip: number;
}

function built(): { scripts: Sizes; program: Sizes } | undefined {
  const content = document.querySelector('meta[name="x2i-download"]')?.getAttribute('content');
  return content ? (JSON.parse(content) as { scripts: Sizes; program: Sizes }) : undefined;
}

function isCompressed(): boolean {
  const entries = performance.getEntriesByType('resource') as PerformanceResourceTiming[];
  return entries.some(({ name, encodedBodySize, decodedBodySize }) => name === import.meta.url && encodedBodySize < decodedBodySize);
}

const sizes = built();
const kind = isCompressed() ? 'gzip' : 'plain';

/** The scripts of the page and of its worker, and its styles. Zero where there is no build to count. */
export const SCRIPTS = sizes?.scripts[kind] ?? 0;
/** The WebAssembly. */
export const PROGRAM = sizes?.program[kind] ?? 0;
