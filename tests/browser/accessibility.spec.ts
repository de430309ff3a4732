/** No state of the demo page breaks a rule of axe-core (WCAG 2.2 A and AA, and its best practices), in light and dark. */

import { AxeBuilder } from '@axe-core/playwright';
import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { ask, downloadLine, drop, enter, painted, paintQuickly, paintSlowly, serveDemo } from './support/demo.ts';
import { expect, test } from './support/browser.ts';
import { hasFfmpeg, temporaryFolder, writePng, writeVideo, writeWav } from './support/media.ts';
import { modalities } from './support/runtime.ts';
import type { Server } from './support/server.ts';

let server: Server;
test.beforeEach(async () => void (server = await serveDemo()));
test.afterEach(() => server.close());

async function expectNoViolations(page: Page, state: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`);
  expect(told, state).toEqual([]);
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`no violations in ${colorScheme}`, async ({ page }) => {
    // A colour on its way to another one has no contrast of its own.
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto(server.url);
    await expect(downloadLine(page)).toContainText(/MB/);
    await downloadLine(page).click();
    await page.getByText('All 160 things').click();
    await expect(page.getByRole('button', { name: 'gloves' })).toBeVisible();
    await expectNoViolations(page, 'first visit');
    await enter(page, server);
    await expectNoViolations(page, 'loaded');
    await paintSlowly(page);
    await ask(page, 'a strawberry on a green background');
    await ask(page, 'a strawberry on a green background');
    await expect(page.getByText(/^Painting, step/)).toBeVisible();
    await expectNoViolations(page, 'painting, one waiting');
    await page.getByRole('button', { name: /^Do not paint/ }).click();
    await page.getByRole('button', { name: /^Cancel/ }).click();
    await paintQuickly(page);
    await ask(page, 'a strawberry on a green background', '1');
    await ask(page, 'клубника на зелёном фоне', '2');
    await painted(page, 2);
    await expectNoViolations(page, 'result');
    await ask(page, 'Angela Merkel riding a horse', 'x');
    await expect(page.locator('#seed-error')).toBeVisible();
    await expectNoViolations(page, 'a wrong seed');
    await ask(page, 'Angela Merkel riding a horse', '3');
    await painted(page, 3);
    await expect(page.locator('#plate').getByText('I am not sure I know that.')).toBeVisible();
    await expectNoViolations(page, 'a doubted result');
    await page.getByRole('button', { name: 'Clear all' }).click();
    await expectNoViolations(page, 'asked before clearing');
    await page.keyboard.press('Escape');
    for (const compare of (await page.getByRole('button', { name: /^Compare: / }).all()).slice(0, 2)) await compare.click();
    await expect(page.getByRole('slider')).toBeVisible();
    await expectNoViolations(page, 'comparing');
    await drop(page, new Uint8Array(8), 'no-picture.png');
    await expect(page.getByRole('alert')).toBeVisible();
    await expectNoViolations(page, 'notice');
  });

  test(`no violations with a picture, a video and a sound in the prompt in ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await enter(page, server, '?model=/sees/');
    const folder = temporaryFolder();
    writePng(`${folder}/disc.png`);
    writeWav(`${folder}/tone.wav`);
    await drop(page, await readFile(`${folder}/disc.png`), 'disc.png');
    if (hasFfmpeg()) {
      writeVideo(`${folder}/moving.webm`);
      await drop(page, await readFile(`${folder}/moving.webm`), 'moving.webm', 'video/webm');
    }
    if (modalities().includes('audio')) await drop(page, await readFile(`${folder}/tone.wav`), 'tone.wav', 'audio/wav');
    await expect(page.getByRole('list', { name: 'In the prompt, in order' })).toBeVisible();
    await expectNoViolations(page, 'prompt');
  });

  test(`no violations in an error in ${colorScheme}`, async ({ page, errors }) => {
    errors.allow(/404/);
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto(`${server.url}/?model=/nowhere/`);
    await expect(page.getByRole('button', { name: 'Try again' })).toBeVisible();
    await expectNoViolations(page, 'error');
  });
}
