/** A browser without WebGPU: `auto` takes the CPU, and WebGPU by name is an error that says so. */

import { expect, test } from './support/browser.ts';
import { openPage, serveRuntime } from './support/runtime.ts';

test.use({ gpu: 'none' });

test('auto takes the CPU and paints, and WebGPU by name is refused', async ({ page }) => {
  const server = await serveRuntime();
  await openPage(page, server);
  const found = await page.evaluate(async () => {
    const { createPipeline, listDevices } = await import('/x2i/index.js');
    const devices = (await listDevices()).map(({ kind }) => kind);
    const x2i = await createPipeline({ model: '/emoji/' });
    const { width } = await x2i.generate({ prompt: 'a red apple on a blue background', seed: 1 }).result;
    const named = await createPipeline({ model: '/emoji/', device: 'webgpu' }).then(() => '', ({ code }) => code);
    return { devices, auto: x2i.device.kind, named, width };
  });
  expect(found).toEqual({ devices: ['cpu'], auto: 'cpu', named: 'device-unavailable', width: 64 });
  await server.close();
});
