/**
 * Playwright's `test` for this project: Debian's Chromium with a software WebGPU (or none), and a page whose every
 * console error, uncaught error and failed worker fails the test.
 *
 * A test that provokes an error says so before: `errors.allow(/404/)`. `CHROMIUM` names another browser.
 *
 * @module
 */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test as base, chromium, expect, type Browser, type Page } from '@playwright/test';

export { expect };

/** Which WebGPU the browser offers: SwiftShader's, an adapter emulated on the CPU, or none at all. */
export type Gpu = 'swiftshader' | 'none';

/** A microphone that beeps and a camera that shows a clock, both allowed at once. */
const FAKE_DEVICES = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];
/** `gc()` for tests that look for leaks. */
const COMMON = ['--headless=new', '--no-sandbox', '--js-flags=--expose-gc', ...FAKE_DEVICES];
const ARGUMENTS: Record<Gpu, string[]> = {
  swiftshader: [...COMMON, '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
  none: [...COMMON, '--disable-features=WebGPU,WebGPUService', '--disable-gpu'],
};

/** Starts a browser; for tests that need two at once or a fresh profile. Others take the `page` of {@link test}. */
export function launch(gpu: Gpu = 'swiftshader'): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath(), args: ARGUMENTS[gpu] });
}

/** `CHROMIUM`, else what the shell would run. */
export function chromiumPath(): string {
  const named = process.env['CHROMIUM'];
  if (named) return named;
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    } catch {
      // Not this one.
    }
  }
  if (existsSync('/usr/bin/chromium')) return '/usr/bin/chromium';
  throw new Error('no Chromium found: install it (apt-get install chromium) or name it in CHROMIUM');
}

/** What pages complained about. */
export class Complaints {
  readonly all: string[] = [];
  readonly #allowed: RegExp[] = [];

  /** Complaints that fit are wanted. */
  allow(pattern: RegExp): void {
    this.#allowed.push(pattern);
  }

  /** Listens to a page and its workers. */
  watch(page: Page): void {
    page.on('console', (message) => {
      if (message.type() === 'error') this.all.push(`${message.text()} (${message.location().url})`);
    });
    page.on('pageerror', (error) => this.all.push(error.stack ?? error.message));
  }

  /** Those that no test asked for. */
  unexpected(): string[] {
    return this.all.filter((text) => !this.#allowed.some((pattern) => pattern.test(text)));
  }
}

interface TestFixtures {
  /** What the test's pages complained about; anything not allowed fails the test at its end. */
  errors: Complaints;
}

interface WorkerFixtures {
  /** Set at the top of a file by `test.use({ gpu: 'none' })`. */
  gpu: Gpu;
}

export const test = base.extend<TestFixtures, WorkerFixtures>({
  gpu: ['swiftshader', { scope: 'worker', option: true }],
  browser: [
    async ({ gpu }, use) => {
      const browser = await launch(gpu);
      await use(browser);
      await browser.close();
    },
    { scope: 'worker' },
  ],
  errors: [
    async ({ context }, use) => {
      const errors = new Complaints();
      context.on('page', (page) => errors.watch(page));
      await use(errors);
      expect(errors.unexpected(), 'console and page errors').toEqual([]);
    },
    { auto: true },
  ],
});
