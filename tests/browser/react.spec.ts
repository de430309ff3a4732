/** The hook of `@x2i/web/react` in React 18 and 19, under StrictMode, from a development server. */

import { expect, test } from './support/browser.ts';
import { install, pack, remove, type Running, startScript, type Tarball, temporaryFolder } from './support/packages.ts';

test.setTimeout(300_000);

let packages: Tarball[];
let packed: string;

test.beforeAll(async () => {
  packed = await temporaryFolder();
  packages = [await pack('www', packed), await pack('www/model-emoji', packed)];
});
test.afterAll(() => remove(packed));

for (const versions of ['react-18', 'react-19']) {
  test(`components of ${versions} in strict mode share a pipeline, paint, fail, stop and unmount`, async ({ page }) => {
    const folder = await install({ folder: 'react', versions }, packages);
    const server: Running = await startScript(folder, 'dev');
    await page.goto(server.url);
    const [first, second] = [page.locator('#first'), page.locator('#second')];
    const press = (section: typeof first, name: string) => section.getByRole('button', { name }).click();

    // A component that paints in an effect, which strict mode runs twice.
    await expect(page.locator('#eager')).toHaveText('ready', { timeout: 100_000 });
    expect(page.workers(), 'one pipeline for all').toHaveLength(1);

    await expect(first.locator('output')).toHaveText('idle');
    await press(first, 'Paint');
    await expect(first.locator('output')).toHaveText('ready');
    const corner = await first.locator('canvas').evaluate((canvas: HTMLCanvasElement) => [...(canvas.getContext('2d')?.getImageData(2, 2, 1, 1).data ?? [])]);
    expect(corner[2], 'the background is blue').toBeGreaterThan((corner[0] as number) + 40);

    await press(first, 'Fail');
    await expect(first.locator('output')).toHaveText(/^request: .*65/);
    await press(first, 'Paint');
    await expect(first.locator('output')).toHaveText('ready');

    await press(second, 'Paint');
    await expect(second.locator('span')).toHaveText('denoise');
    await press(second, 'Stop');
    await expect(second.locator('output')).toHaveText('ready');

    // A component that is gone stops what it began: the next call need not wait for 1000 steps.
    await press(second, 'Paint');
    await expect(second.locator('span')).toHaveText('denoise');
    await page.locator('#toggle').click();
    await expect(second).toHaveCount(0);
    await press(first, 'Paint');
    await expect(first.locator('output')).toHaveText('ready', { timeout: 15_000 });
    expect(page.workers()).toHaveLength(1);
    await page.goto('about:blank');
    await server.close();
    await remove(folder);
  });
}
