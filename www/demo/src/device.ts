/** The device in use, and the choice between those that there are. */

import { listDevices, type DeviceInfo } from '@x2i/web';
import { byId } from './dom';
import { watch } from './state';
import { chooseDevice } from './studio';

const badge = byId('device', HTMLParagraphElement);
const badgeName = byId('device-name', HTMLSpanElement);
const select = byId('choice', HTMLSelectElement);

/** `CPU`, `NVIDIA RTX 4060`, `SwiftShader (software)`. */
export function deviceLabel(device: DeviceInfo): string {
  return device.kind === 'webgpu' && device.software ? `${device.name} (software)` : device.name;
}

async function nameChoices(): Promise<void> {
  const devices = await listDevices().catch(() => []);
  const adapter = devices.find((device) => device.kind === 'webgpu' && !device.software) ?? devices.find((device) => device.kind === 'webgpu');
  const option = select.namedItem('webgpu') ?? select.querySelector<HTMLOptionElement>('option[value=webgpu]');
  if (option === null) return;
  option.disabled = adapter === undefined;
  option.textContent = adapter === undefined ? 'WebGPU: not offered' : `WebGPU: ${deviceLabel(adapter)}${adapter.software ? ', slow' : ''}`;
}

export function startDevice(): void {
  select.addEventListener('change', () => {
    const { value } = select;
    if (value === 'auto' || value === 'cpu' || value === 'webgpu') void chooseDevice(value);
  });
  let named = false;
  watch(
    (state) => state.model,
    (model) => {
      badge.hidden = model.kind !== 'ready';
      if (model.kind !== 'ready') return;
      badgeName.textContent = `Paints on ${deviceLabel(model.device)}`;
      badge.dataset['kind'] = model.device.kind;
      if (!named) void nameChoices();
      named = true;
    },
  );
}
