/**
 * The demo page at three widths in light and dark, written to `output/screenshots/` to be looked at. `CONTACT_SHEET` names
 * a JPEG to be made of them (`scripts/page-screenshots`).
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ask, downloadLine, enter, painted, paintQuickly, paintSlowly, serveDemo } from './support/demo.ts';
import { expect, test } from './support/browser.ts';
import type { Server } from './support/server.ts';

const FOLDER = fileURLToPath(new URL('./output/screenshots/', import.meta.url));
const WIDTHS = [360, 768, 1280];
const SCHEMES = ['light', 'dark'] as const;
/** On the contact sheet, with the height of what is shown of them. */
const ON_SHEET = ['first-visit', 'result', 'doubt', 'painting'];
const SHEET = { scale: 0.5, height: 900, quality: 62 };
const PROMPTS = [
  'a watermelon on a white background, openmoji style',
  'ракета на фиолетовом фоне, стиль fluent',
  'fresa sobre fondo verde',
  'Kaktus auf rosa Hintergrund',
  'pingouin sur fond jaune, style twemoji',
  '蓝色背景上的红苹果',
];

let server: Server;
test.beforeEach(async () => void (server = await serveDemo()));
test.afterEach(() => server.close());

for (const colorScheme of SCHEMES) {
  test(`screenshots in ${colorScheme}`, async ({ page }) => {
    const shoot = async (state: string) => {
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: width < 600 ? 780 : 900 });
        await page.evaluate(() => scrollTo(0, 0));
        // Nothing may be wider than the page.
        expect(await page.evaluate(() => document.documentElement.scrollWidth), `${state} at ${width}`).toBeLessThanOrEqual(width);
        await page.screenshot({ path: `${FOLDER}${state}-${width}-${colorScheme}.png`, fullPage: true });
      }
    };
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto(server.url);
    await expect(downloadLine(page)).toContainText(/MB/);
    await shoot('first-visit');
    await enter(page, server);
    await shoot('ready');
    for (const prompt of PROMPTS) await ask(page, prompt);
    await painted(page, PROMPTS.length);
    await shoot('result');
    await ask(page, 'Angela Merkel riding a horse');
    await painted(page, PROMPTS.length + 1);
    await shoot('doubt');
    const compare = page.getByRole('button', { name: /^Compare: / });
    await compare.nth(0).click();
    await compare.nth(1).click();
    await shoot('compare');
    await page.getByRole('button', { name: 'Close the comparison' }).click();
    await paintSlowly(page);
    await ask(page, PROMPTS[0] as string);
    await ask(page, PROMPTS[1] as string);
    await expect(page.getByText(/^Painting, step 3/)).toBeVisible();
    await shoot('painting');
    await page.keyboard.press('Escape');
    await paintQuickly(page);
  });
}

test('the contact sheet', async ({ page }) => {
  const sheet = process.env['CONTACT_SHEET'];
  test.skip(sheet === undefined, 'CONTACT_SHEET names no file');
  const picture = async (state: string, width: number, scheme: string) => {
    const data = (await readFile(join(FOLDER, `${state}-${width}-${scheme}.png`))).toString('base64');
    const size = `width:${width * SHEET.scale}px;height:${SHEET.height * SHEET.scale}px`;
    return `<img style="${size};object-fit:cover;object-position:top" src="data:image/png;base64,${data}">`;
  };
  const rows = await Promise.all(
    ON_SHEET.flatMap((state) => SCHEMES.map(async (scheme) => `<div>${(await Promise.all(WIDTHS.map((width) => picture(state, width, scheme)))).join('')}</div>`)),
  );
  const width = WIDTHS.reduce((sum, one) => sum + one * SHEET.scale, 0) + 8 * (WIDTHS.length + 1);
  await page.setViewportSize({ width, height: 1000 });
  await page.setContent(`<style>body{margin:8px;background:#888}div{display:flex;gap:8px;margin-bottom:8px}</style>${rows.join('')}`);
  await page.screenshot({ path: sheet as string, type: 'jpeg', quality: SHEET.quality, fullPage: true });
});
