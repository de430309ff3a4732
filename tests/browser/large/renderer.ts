/**
 * What a page's process takes: memory and bytes read, from Linux's /proc.
 *
 * @module
 */

import { readFileSync } from 'node:fs';
import type { Browser, Page } from '@playwright/test';

/** A process at one time. */
export interface Sample {
  /** Milliseconds. */
  at: number;
  /** Resident bytes, and those of them that are its own share. */
  rss: number;
  pss: number;
  /** Bytes that it read from files. */
  read: number;
}

/** The process that runs a page: of the browser's renderers, the one that works while the page does. */
export async function rendererOf(page: Page): Promise<number> {
  const session = await (page.context().browser() as Browser).newBrowserCDPSession();
  const times = async (): Promise<Map<number, number>> => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    return new Map(processInfo.filter(({ type }) => type === 'renderer').map(({ id, cpuTime }) => [id, cpuTime]));
  };
  const before = await times();
  await page.evaluate(() => {
    for (const end = performance.now() + 500; performance.now() < end; );
  });
  const worked = [...(await times())].map(([id, time]) => [id, time - (before.get(id) ?? 0)] as const);
  await session.detach();
  return worked.reduce((most, next) => (next[1] > most[1] ? next : most))[0];
}

/** Looks at a process. */
export function sample(pid: number): Sample {
  const number = (file: string, key: string, unit: number): number => {
    const text = readFileSync(`/proc/${pid}/${file}`, 'utf8');
    return Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1]) * unit;
  };
  return {
    at: performance.now(),
    rss: number('status', 'VmRSS', 1024),
    pss: number('smaps_rollup', 'Pss', 1024),
    read: number('io', 'rchar', 1),
  };
}
