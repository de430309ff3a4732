/** The device in use, and the choice between those that there are. */

import type { DeviceInfo } from '@x2i/web';
import { byId } from './dom';
import { state, watch } from './state';
import { chooseDevice } from './studio';

const badge = byId('device', HTMLParagraphElement);
const badgeName = byId('device-name', HTMLSpanElement);
const select = byId('choice', HTMLSelectElement);

/** `CPU`, `NVIDIA RTX 4060`, `SwiftShader (software)`. */
export function deviceLabel(device: DeviceInfo): string {
  return device.kind === 'webgpu' && device.software ? `${device.name} (software)` : device.name;
}

/** Names the adapter behind the choice `WebGPU`, or takes the choice away. */
function nameChoices(devices: readonly DeviceInfo[]): void {
  const option = select.querySelector<HTMLOptionElement>('option[value=webgpu]');
  if (option === null || devices.length === 0) return;
  const adapters = devices.filter((device) => device.kind === 'webgpu');
  const adapter = adapters.find((device) => !device.software) ?? adapters[0];
  option.disabled = adapter === undefined;
  option.textContent = adapter === undefined ? 'WebGPU: not offered' : `WebGPU: ${deviceLabel(adapter)}${adapter.software ? ', slow' : ''}`;
}

/** Where pictures are painted; in red where a server that should do it does not answer. */
function renderBadge(): void {
  const { model, unreached } = state();
  const lost = unreached && import.meta.env.MODE === 'server';
  badge.classList.toggle('lost', lost);
  badge.hidden = model.kind !== 'ready' && !lost;
  if (lost) badgeName.textContent = 'The server does not answer';
  else if (model.kind === 'ready') badgeName.textContent = `Paints on ${deviceLabel(model.device)}`;
}

export function startDevice(): void {
  select.addEventListener('change', () => {
    const { value } = select;
    if (value === 'auto' || value === 'cpu' || value === 'webgpu') void chooseDevice(value);
  });
  watch((state) => state.devices, nameChoices);
  watch((now) => now.model, renderBadge);
  watch((now) => now.unreached, renderBadge);
}
