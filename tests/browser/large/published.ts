/**
 * FLUX.1-schnell's whole shape in q4_0 with Qwen2.5-VL-3B's, of generated weights, paints a picture in a tab: what each
 * phase takes in seconds and in the renderer's memory. docs/BENCHMARKS.md has the numbers.
 *
 * `X2I_LIMIT` is `maxDeviceMemory`; `X2I_PROFILE` is a folder on a disk with 12 GB, removed at the end;
 * `X2I_SIZES=eighth` runs the small model of CI.
 */

import { writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, expect, test } from '@playwright/test';
import { chromiumPath } from '../support/browser.ts';
import { eighthSizes, generateModel, publishedSizes } from '../support/generated/model.ts';
import { serveRuntime } from '../support/runtime.ts';
import { renderersOf, type Sample, sampleLargest } from './renderer.ts';

const LIMIT = process.env['X2I_LIMIT'] ?? '1.5GB';
const PROFILE = process.env['X2I_PROFILE'] ?? join(tmpdir(), 'x2i-large-profile');
const OUTPUT = join(import.meta.dirname, '../output');
const INTERVAL = 500;
/** What the renderer may take, in bytes. */
const MOST = 2.5e9;

/** A phase, and the process at its beginning. */
interface Phase {
  name: string;
  begin: Sample;
  peak: number;
}

test('the whole shape paints', async () => {
  const model = await generateModel(await (process.env['X2I_SIZES'] === 'eighth' ? eighthSizes() : publishedSizes()));
  const server = await serveRuntime(model.hooks('/large/'));
  // A context of Playwright's own is a private window, whose files are kept in memory.
  const context = await chromium.launchPersistentContext(PROFILE, {
    executablePath: chromiumPath(),
    args: ['--headless=new', '--no-sandbox', '--disable-gpu'],
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    await page.goto(`${server.url}/`);
    const pids = await renderersOf(context.browser() as Browser);
    page.on('console', (message) => console.log(`${new Date().toISOString()} ${message.text()}`));
    const phases: Phase[] = [];
    const look = (): Sample => {
      const now = sampleLargest(pids);
      const phase = phases.at(-1);
      if (phase) phase.peak = Math.max(phase.peak, now.rss);
      return now;
    };
    const begin = (name: string): void => {
      const begin = look();
      if (phases.at(-1)?.name !== name) phases.push({ name, begin, peak: begin.rss });
      console.log(`${new Date().toISOString()} ${name}, ${(begin.rss / 1e6).toFixed(0)} MB`);
    };
    await page.exposeFunction('begin', begin);
    const clock = setInterval(look, INTERVAL);
    const painted = await page.evaluate(async (limit) => {
      const { createPipeline } = await import('/x2i/index.js');
      const { begin } = globalThis as unknown as { begin(name: string): Promise<void> };
      let last = '';
      const tell = async (name: string): Promise<void> => {
        if (name === last) return;
        last = name;
        await begin(name);
      };
      const warnings: string[] = [];
      await tell('download');
      const x2i = await createPipeline({
        model: '/large/', device: 'cpu', maxDeviceMemory: limit,
        onProgress: ({ phase, file }) => void tell(file === undefined ? phase : `${phase} ${file}`),
        onWarning: ({ message }) => warnings.push(message),
      });
      await tell('paint');
      const run = x2i.generate({ prompt: 'a red apple on a blue background', seed: 7, preview: false, output: 'pixels' });
      for await (const { phase, done, total } of run) {
        await tell(phase);
        console.log(`${phase} ${done} of ${total}`);
      }
      const { image, png, timings } = await run.result;
      x2i.close();
      return { image: Array.from(image), png: Array.from(new Uint8Array(await png.arrayBuffer())), timings, warnings };
    }, LIMIT);
    begin('end');
    clearInterval(clock);
    writeFileSync(join(OUTPUT, 'large.png'), Uint8Array.from(painted.png));
    const peak = Math.max(...phases.map((phase) => phase.peak));
    report(model.bytes, phases, peak, painted);
    expect(painted.warnings).toEqual([]);
    expect(new Set(painted.image).size, 'different bytes of the picture').toBeGreaterThan(16);
    expect(peak).toBeLessThan(MOST);
  } finally {
    await context.close();
    await server.close();
    await rm(PROFILE, { recursive: true, force: true });
  }
});

function report(bytes: number, phases: Phase[], peak: number, { timings }: { timings: object }): void {
  const rows = phases.slice(0, -1).map(({ name, begin, peak }, index) => {
    const { begin: end } = phases[index + 1] as Phase;
    const read = end.read - begin.read;
    return [name, (end.at - begin.at) / 1000, read / 1e9, peak / 1e9].map((value) =>
      typeof value === 'number' ? value.toFixed(2) : value);
  });
  const lines = [
    `${(bytes / 1e9).toFixed(2)} GB of weights, maxDeviceMemory ${LIMIT}, peak ${(peak / 1e9).toFixed(2)} GB, ` +
      `${cpus()[0]?.model}, ${availableParallelism()} cores, load average ${loadavg()[0]?.toFixed(1)}`,
    JSON.stringify(timings),
    'phase | seconds | GB read | peak GB',
    ...rows.map((row) => row.join(' | ')),
  ];
  console.log(lines.join('\n'));
  writeFileSync(join(OUTPUT, 'large.txt'), lines.join('\n'));
}
