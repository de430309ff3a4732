/**
 * The demo page, from the first visit to the second one without a network, as a visitor and a keyboard use it.
 * Everything is painted on the CPU but in the one test that says otherwise.
 */

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { ask, downloadLabel, downloadLine, drop, easel, enter, painted, paintQuickly, paintSlowly, pixels, ready, serveDemo, tiles } from './support/demo.ts';
import { expect, test } from './support/browser.ts';
import { hasFfmpeg, temporaryFolder, writeVideo, writeWav } from './support/media.ts';
import { modalities } from './support/runtime.ts';
import type { Server } from './support/server.ts';

/** The first is shown in every language. */
const EXAMPLES: ReadonlyArray<{ en: string }> = JSON.parse(readFileSync(new URL('../../www/demo/src/examples.json', import.meta.url), 'utf8'));
/** What browsers call a long task; the page must have none while it paints. */
const LONG_TASK_MS = 50;
/** A good page by the Web Vitals' definition. */
const LAYOUT_SHIFT = 0.1;

let server: Server;
test.beforeEach(async () => void (server = await serveDemo()));
test.afterEach(() => server.close());

const weightsAsked = () => server.requests.filter(({ path }) => path.endsWith('.gguf'));

/** The mean colour of the corners and of the middle. */
async function colours(page: Page): Promise<{ corner: number[]; middle: number[] }> {
  const data = await pixels(page);
  const side = Math.sqrt(data.length / 4);
  const at = (x: number, y: number) => data.slice((y * side + x) * 4, (y * side + x) * 4 + 3);
  return { corner: at(2, 2), middle: at(side / 2, side / 2) };
}

test('the first visit tells sizes and licence, and downloads no weights before consent', async ({ page }) => {
  await page.goto(server.url);
  await expect(downloadLine(page)).toContainText(downloadLabel());
  await downloadLine(page).click();
  const row = (file: string) => page.getByRole('row', { name: file });
  await expect(row('flux.gguf')).toContainText(/\d+\.\d MB/);
  await expect(row('tokenizer.json')).toContainText(/\d+ kB/);
  await expect(row('program (WebAssembly)')).toContainText(/\d+\.\d MB/);
  await expect(page.getByText('CC-BY-SA-4.0')).toBeVisible();
  expect(weightsAsked()).toEqual([]);
  await page.getByRole('button', { name: 'Download it now' }).click();
  await ready(page);
  expect(weightsAsked().length).toBeGreaterThan(0);
  await expect(page.getByText('Paints on CPU')).toBeVisible();
  await page.getByText('Models on this device').click();
  await expect(page.getByRole('listitem').filter({ hasText: /^emoji\s*\d+\.\d MB/ })).toBeVisible();
});

test('two languages paint a red apple on blue', async ({ page }) => {
  await enter(page, server);
  for (const [index, [lang, prompt]] of [['en', 'a red apple on a blue background'], ['zh', '蓝色背景上的红苹果']].entries()) {
    await ask(page, prompt as string);
    await painted(page, index + 1);
    await expect(easel(page)).toHaveAttribute('lang', lang as string);
    const { corner, middle } = await colours(page);
    expect(corner[2], 'blue corner').toBeGreaterThan(150);
    expect(corner[0], 'blue corner').toBeLessThan(120);
    expect(middle[0], 'red middle').toBeGreaterThan(150);
    expect(middle[2], 'red middle').toBeLessThan(120);
  }
  await expect(page.locator('#plate')).toContainText(/Read.*Painted.*Developed.*Together/);
});

test('the examples and the prompt change their language by one click, with its lang attribute', async ({ page }) => {
  await page.goto(server.url);
  const prompt = page.getByLabel('Prompt', { exact: true });
  await prompt.fill('a cactus on a pink background');
  await page.getByRole('radio', { name: 'Русский' }).check({ force: true });
  await expect(prompt).toHaveValue('кактус на розовом фоне');
  await expect(prompt).toHaveAttribute('lang', 'ru');
  await expect(page.locator('#examples').getByText('клубника на зелёном фоне')).toHaveAttribute('lang', 'ru');
  await prompt.fill('eine Katze auf dem Dach');
  await expect(page.getByRole('radio', { name: 'Deutsch' })).toBeChecked();
  await expect(prompt).toHaveAttribute('lang', 'de');
  await prompt.fill('gato');
  await page.getByRole('radio', { name: 'Español' }).check({ force: true });
  await expect(prompt).toHaveValue('gato');
  await expect(prompt).toHaveAttribute('lang', 'es');
});

test('Escape cancels, and the next picture is painted', async ({ page }) => {
  await enter(page, server);
  await paintSlowly(page);
  await ask(page, 'a cactus on a pink background');
  await expect(page.getByText(/^Painting, step/)).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('progressbar')).toBeHidden();
  await expect(page.getByRole('status')).toHaveText('Cancelled');
  await expect(tiles(page)).toHaveCount(0);
  await paintQuickly(page);
  await ask(page, 'a cactus on a pink background');
  await painted(page, 1);
});

test('a download is cancelled and started again', async ({ page }) => {
  let hold = true;
  server.hooks.push(async ({ url }) => {
    while (hold && url?.includes('.gguf')) await new Promise((later) => setTimeout(later, 50));
    return false;
  });
  await page.goto(server.url);
  await ask(page, 'a red apple on a blue background');
  // All that the visit downloads is counted, code and weights.
  await expect(page.getByText(/^Downloading, /)).toContainText(`of ${/[\d.]+ MB/.exec(downloadLabel())?.[0]}`);
  await page.keyboard.press('Escape');
  await expect(page.getByText('The download was stopped.')).toBeVisible();
  await expect(page.getByRole('progressbar')).toBeHidden();
  hold = false;
  await ask(page, 'a red apple on a blue background');
  await painted(page, 1);
});

test('two wait in the queue, one is taken out', async ({ page }) => {
  await enter(page, server);
  await paintSlowly(page, 100);
  for (const seed of ['1', '2', '3']) await ask(page, 'a strawberry on a green background', seed);
  const waiting = page.getByRole('list', { name: 'Waiting' }).getByRole('listitem');
  await expect(waiting).toHaveCount(2);
  await waiting.last().getByRole('button').click();
  await painted(page, 2);
  await expect(tiles(page).first()).toHaveAccessibleName(/seed 2$/);
  await expect(tiles(page).last()).toHaveAccessibleName(/seed 1$/);
});

test('every example is understood alike in all eight languages', async ({ page }) => {
  test.setTimeout(600_000);
  await enter(page, server);
  await page.getByLabel('Steps', { exact: true }).fill('1');
  for (const { en } of EXAMPLES) {
    await page.getByLabel('Prompt', { exact: true }).fill(en);
    await page.getByRole('button', { name: /^Paint it in all eight/ }).click();
  }
  await painted(page, 8 * EXAMPLES.length);
  const answers = await page.evaluate(async () => {
    const database = await new Promise<IDBDatabase>((opened) => {
      const request = indexedDB.open('x2i-demo');
      request.onsuccess = () => opened(request.result);
    });
    return new Promise<string[]>((read) => {
      const request = database.transaction('pictures').objectStore('pictures').getAll();
      request.onsuccess = () => read(request.result.map(({ answer }: { answer: string }) => answer));
    });
  });
  for (let first = 0; first < answers.length; first += 8) {
    expect(new Set(answers.slice(first, first + 8)).size, answers.slice(first, first + 8).join('\n')).toBe(1);
  }
});

test('an example is painted in all eight languages from one seed', async ({ page }) => {
  await enter(page, server);
  await page.getByLabel('Prompt', { exact: true }).fill('a red apple on a blue background');
  await page.getByRole('button', { name: /^Paint it in all eight/ }).click();
  await painted(page, 8);
  const seeds = await tiles(page).evaluateAll((all) => all.map((tile) => tile.ariaLabel?.replace(/.*seed /, '')));
  expect(new Set(seeds).size).toBe(1);
});

test('the gallery survives a reload, loses one picture, and is cleared', async ({ page }) => {
  await enter(page, server);
  await ask(page, 'a rocket on a purple background', '1');
  await ask(page, 'a rocket on a purple background', '2');
  await painted(page, 2);
  const before = await pixels(page);
  await page.reload();
  await expect(tiles(page)).toHaveCount(2);
  expect(await pixels(page)).toEqual(before);
  await ready(page);
  await page.getByRole('button', { name: /^Delete: .*seed 2$/ }).click();
  await expect(tiles(page)).toHaveCount(1);
  await page.reload();
  await expect(tiles(page)).toHaveCount(1);
  await page.getByRole('button', { name: 'Clear all' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect(tiles(page)).toHaveCount(0);
  await page.reload();
  await expect(page.getByText('Pictures you paint stay here')).toBeVisible();
});

test('a downloaded PNG that is dropped paints the same pixels again', async ({ page }) => {
  await enter(page, server);
  await page.getByLabel('Steps', { exact: true }).fill('3');
  await ask(page, 'pingouin sur fond jaune, style twemoji', '9007199254740991');
  await painted(page, 1);
  const before = await pixels(page);
  const waiting = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download' }).click();
  const download = await waiting;
  expect(download.suggestedFilename()).toBe('pingouin-sur-fond-jaune-style-twemoji-9007199254740991.png');
  const png = await readFile(await download.path());
  await page.getByLabel('Seed', { exact: true }).fill('1');
  await page.getByLabel('Steps', { exact: true }).fill('4');
  await page.getByLabel('Prompt', { exact: true }).fill('something else');
  await drop(page, png);
  await painted(page, 2);
  expect(await pixels(page)).toEqual(before);
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('pingouin sur fond jaune, style twemoji');
  await expect(page.getByLabel('Seed', { exact: true })).toHaveValue('9007199254740991');
  await expect(page.getByLabel('Steps', { exact: true })).toHaveValue('3');
});

test('a seed of 64 bits is painted and told in full', async ({ page }) => {
  await enter(page, server);
  await ask(page, 'a red apple on a blue background', '18446744073709551615');
  await expect(page.getByRole('progressbar')).toBeHidden({ timeout: 170_000 });
  await expect(tiles(page).first()).toHaveAccessibleName(/seed 18446744073709551615$/, { timeout: 1000 });
});

test('two pictures are compared by keyboard', async ({ page }) => {
  await enter(page, server);
  await ask(page, 'a red apple on a blue background', '1');
  await ask(page, '青の背景に赤リンゴ', '1');
  await painted(page, 2);
  const compare = page.getByRole('button', { name: /^Compare: / });
  await compare.last().focus();
  await page.keyboard.press('Enter');
  await compare.first().focus();
  await page.keyboard.press('Enter');
  const slider = page.getByRole('slider');
  await expect(slider).toBeFocused();
  await expect(slider).toHaveValue('50');
  for (let press = 0; press < 5; press++) await page.keyboard.press('ArrowRight');
  await expect(slider).toHaveAttribute('aria-valuetext', '55 % first picture, 45 % second');
  await page.keyboard.press('Home');
  await expect(page.locator('#compare')).toHaveCSS('--seam', '0%');
  await page.getByRole('button', { name: 'Close the comparison' }).press('Enter');
  await expect(slider).toBeHidden();
  await expect(easel(page)).toBeVisible();
});

test('the second visit paints without a network', async ({ page, context }) => {
  await enter(page, server);
  await expect(page.getByText('This page works offline.')).toBeVisible();
  await context.setOffline(true);
  await server.close();
  await page.reload();
  await ready(page);
  await ask(page, 'roter Apfel auf blauem Hintergrund');
  await painted(page, 1);
});

test('a text-only model refuses a picture before anything is asked of it', async ({ page }) => {
  await enter(page, server, '?model=/blind/');
  const add = page.getByRole('button', { name: 'Add a picture, video or sound' });
  await expect(add).toHaveAttribute('aria-disabled', 'true');
  await expect(add).toHaveAccessibleDescription('This model reads text only');
  await drop(page, await readFile(new URL('../../core/models/emoji/scores.png', import.meta.url)));
  await expect(page.getByRole('alert')).toContainText('“blind” reads text only.');
  await page.getByRole('button', { name: 'Dismiss' }).click();
  await page.getByRole('button', { name: 'Take a picture' }).press('Enter');
  await expect(page.getByRole('alert')).toContainText('Describe it in words');
});

test('a model that sees takes files and the camera, in order, and paints from them', async ({ page }) => {
  await page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      const canvas = document.createElement('canvas');
      canvas.getContext('2d')?.fillRect(0, 0, 20, 20);
      const stream = canvas.captureStream(30);
      Object.assign(globalThis, { stream });
      return stream;
    };
  });
  await enter(page, server, '?model=/sees/');
  const inPrompt = page.getByRole('list', { name: 'In the prompt, in order' }).getByRole('listitem');
  await page.locator('#file').setInputFiles(new URL('../../core/models/emoji/scores.png', import.meta.url).pathname);
  await expect(inPrompt).toHaveCount(1);
  await page.getByRole('button', { name: 'Take a picture' }).click();
  await page.getByRole('button', { name: 'Take it' }).click();
  await expect(inPrompt).toHaveCount(2);
  const running = await page.evaluate(() => (globalThis as unknown as { stream: MediaStream }).stream.active);
  expect(running, 'the camera is off').toBe(false);
  await page.getByRole('button', { name: 'Remove picture 1' }).click();
  await expect(inPrompt).toHaveCount(1);
  await ask(page, 'this on a red background');
  await painted(page, 1);
});

test('a video is a chip, a sound is one for a model that hears, and both are painted', async ({ page }) => {
  test.skip(!hasFfmpeg(), 'ffmpeg makes the video');
  await enter(page, server, '?model=/sees/');
  const folder = temporaryFolder();
  const [video, sound] = [`${folder}/moving.webm`, `${folder}/tone.wav`];
  writeVideo(video);
  writeWav(sound);
  await drop(page, await readFile(video), 'moving.webm', 'video/webm');
  const chips = page.getByRole('list', { name: 'In the prompt, in order' }).getByRole('listitem');
  await expect(chips.first().getByLabel('Video 1', { exact: true })).toBeVisible();
  await drop(page, await readFile(sound), 'tone.wav', 'audio/wav');
  if (modalities().includes('audio')) await expect(chips.last().getByRole('button', { name: 'Play: Sound 2' })).toBeVisible();
  else await expect(page.getByRole('alert')).toContainText('“sees” hears no sounds.');
  await ask(page, 'on a red background');
  await painted(page, 1);
});

test('what the microphone hears is a chip', async ({ page }) => {
  await enter(page, server, '?model=/sees/');
  const record = page.getByRole('button', { name: 'Record a sound' });
  if (!modalities().includes('audio')) {
    await expect(record).toHaveAccessibleDescription('This model hears no sounds');
    return;
  }
  await record.click();
  await expect(page.getByText('Recording, 1 s')).toBeVisible();
  await page.getByRole('button', { name: 'Stop recording' }).click();
  await expect(page.getByRole('button', { name: 'Play: Sound 1' })).toBeVisible();
  await page.getByRole('button', { name: 'Paint', exact: true }).click();
  await painted(page, 1);
});

test('a picture is gone on from', async ({ page }) => {
  await enter(page, server, '?model=/sees/');
  await ask(page, 'a red apple on a blue background');
  await painted(page, 1);
  await page.getByRole('button', { name: 'Go on from it' }).click();
  await expect(page.getByRole('img', { name: 'Picture 1' })).toBeVisible();
  await expect(page.getByLabel('Prompt', { exact: true })).toBeFocused();
  await ask(page, 'on a green background');
  await painted(page, 2);
});

test('a keyboard alone goes from the first visit to a picture and back', async ({ page }) => {
  await page.goto(server.url);
  await expect(downloadLine(page)).toContainText(/MB/);
  const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.className);
  const visited: Array<string | undefined> = [];
  for (let press = 0; press < 3; press++) {
    await page.keyboard.press('Tab');
    visited.push(await focused());
  }
  expect(visited).toEqual(['skip', 'link top-link', 'theme']);
  await page.locator('.skip').focus();
  await page.keyboard.press('Enter');
  await expect(page.getByLabel('Prompt', { exact: true })).toBeFocused();
  await page.keyboard.type('a watermelon on a white background');
  await page.keyboard.press('Enter');
  await painted(page, 1);
  await expect(page.getByLabel('Prompt', { exact: true })).toBeFocused();
  for (const next of ['add-file', 'add-camera', 'add-sound', 'paint']) {
    await page.keyboard.press('Tab');
    expect(await focused()).toBe(next);
  }
  await page.keyboard.press('Tab');
  expect(await focused()).toBe('download-summary');
  await page.keyboard.press('Tab');
  expect(await focused()).toBe('example');
  await page.keyboard.press('Enter');
  await painted(page, 2);
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('a penguin on a yellow background, twemoji style');
  await page.getByRole('radio', { name: 'English' }).focus();
  await page.keyboard.press('ArrowRight');
  await expect(page.getByRole('radio', { name: '中文' })).toBeChecked();
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('黄色背景上的企鹅，twemoji风格');
});

test.describe('timing', () => {
  // Chromium counts wall time: on a machine whose every core paints, a free thread may look busy once.
  // A task that is truly long is so in every run.
  test.describe.configure({ retries: 3 });

  test('the main thread stays free and the page still while it paints', async ({ page }) => {
    await page.addInitScript(() => {
      const seen = { tasks: [] as number[], shift: 0 };
      Object.assign(globalThis, { seen });
      new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries() as Array<PerformanceEntry & { value: number; hadRecentInput: boolean }>) {
          if (!entry.hadRecentInput) seen.shift += entry.value;
        }
      }).observe({ type: 'layout-shift', buffered: true });
    });
    await page.setViewportSize({ width: 360, height: 740 });
    await enter(page, server);
    // The observer does hear of long tasks.
    const heard = await page.evaluate(async (long) => {
      const { tasks } = (globalThis as unknown as { seen: { tasks: number[] } }).seen;
      tasks.length = 0;
      setTimeout(() => {
        for (const end = performance.now() + 2 * long; performance.now() < end; );
      });
      await new Promise((later) => setTimeout(later, 1000));
      return tasks.splice(0).length;
    }, LONG_TASK_MS);
    expect(heard).toBe(1);
    for (const seed of ['1', '2', '3']) await ask(page, 'a red apple on a blue background', seed);
    await painted(page, 3);
    const { tasks, shift } = await page.evaluate(() => (globalThis as unknown as { seen: { tasks: number[]; shift: number } }).seen);
    console.log(`long tasks: ${tasks.length}, the worst ${Math.max(0, ...tasks)} ms; layout shift ${shift.toFixed(4)}`);
    expect(tasks.filter((duration) => duration >= LONG_TASK_MS)).toEqual([]);
    expect(shift).toBeLessThan(LAYOUT_SHIFT);
  });
});

test('a model that is not there is told with its address and can be asked for again', async ({ page, errors }) => {
  errors.allow(/404/);
  await page.goto(`${server.url}/?model=/nowhere/`);
  await expect(page.getByRole('alert')).toContainText('model.json');
  await expect(page.getByRole('alert')).toContainText(`${server.url}/nowhere/`);
  await expect(page.getByRole('button', { name: 'Try again' })).toBeVisible();
  await page.getByRole('link', { name: 'Use the built-in model' }).click();
  await expect(downloadLine(page)).toContainText(downloadLabel());
});

test('a model that is deleted is asked for at the next visit', async ({ page }) => {
  await enter(page, server);
  await page.getByText('Models on this device').click();
  await page.getByRole('button', { name: 'Delete the model emoji from this device' }).click();
  await expect(page.getByText('No model yet.')).toBeVisible();
  await page.reload();
  await expect(downloadLine(page)).toContainText(downloadLabel());
});

test('the theme is the system’s until it is chosen, and then kept', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto(server.url);
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await page.getByRole('button', { name: 'Switch to dark' }).click();
  expect(await paper()).not.toBe(light);
  await page.reload();
  await expect(page.getByRole('button', { name: 'Switch to light' })).toBeVisible();
  expect(await paper()).not.toBe(light);
});

test('WebGPU by name paints, and its adapter is named with the word software', async ({ page }) => {
  test.slow();
  await enter(page, server);
  await page.getByLabel('Device', { exact: true }).selectOption('webgpu');
  await expect(page.getByText(/^Paints on .*\(software\)$/)).toBeVisible({ timeout: 120_000 });
  await page.getByLabel('Steps', { exact: true }).fill('1');
  await ask(page, 'a red apple on a blue background');
  await painted(page, 1);
});
