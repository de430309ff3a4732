/** The proof with a whole model: ten gigabytes and a quarter of an hour, so that it runs by hand (scripts/large-web). */

import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: '.',
  testMatch: 'published.ts',
  outputDir: '../output/large',
  workers: 1,
  timeout: 0,
  reporter: [['list']],
});
