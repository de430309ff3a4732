/** The demo page at three widths in light and dark, written to `output/screenshots/` to be looked at. */

import { fileURLToPath } from 'node:url';
import { ask, enter, painted, paintSlowly, serveDemo } from './support/demo.ts';
import { expect, test } from './support/browser.ts';
import type { Server } from './support/server.ts';

const FOLDER = fileURLToPath(new URL('./output/screenshots/', import.meta.url));
const WIDTHS = [360, 768, 1280];
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

for (const colorScheme of ['light', 'dark'] as const) {
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
    await expect(page.getByRole('button', { name: /^Download/ })).toBeVisible();
    await shoot('first-visit');
    await enter(page, server);
    await shoot('ready');
    for (const prompt of PROMPTS) await ask(page, prompt);
    await painted(page, PROMPTS.length);
    await shoot('result');
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
  });
}
