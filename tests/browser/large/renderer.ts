/**
 * What a page's process takes: memory and bytes read, from Linux's /proc.
 *
 * @module
 */

import { existsSync, readFileSync } from 'node:fs';
import type { Browser } from '@playwright/test';

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

/** The processes that run a browser's pages. */
export async function renderersOf(browser: Browser): Promise<number[]> {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  return processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
}

/** Looks at the largest of these processes: the model's, beside those of empty tabs. */
export function sampleLargest(pids: number[]): Sample {
  const samples = pids.filter((pid) => existsSync(`/proc/${pid}`)).map(sample);
  return samples.reduce((most, next) => (next.rss > most.rss ? next : most));
}

/** Looks at a process. */
function sample(pid: number): Sample {
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
