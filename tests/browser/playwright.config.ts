/** The browser tests: one Chromium at a time, since the machine's cores are what the pictures are painted on. */

import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: '.',
  testMatch: '*.spec.ts',
  outputDir: './output/results',
  workers: 1,
  fullyParallel: false,
  forbidOnly: Boolean(process.env['CI']),
  // A picture on a software GPU takes half a minute on two cores.
  timeout: 180_000,
  expect: { timeout: 60_000 },
  reporter: [['list']],
});
