/** A picture from the camera: a dialog, one button, and the stream stopped whichever way it closes. */

import { attach, canRead, refuse } from './attach';
import { byId } from './dom';
import { inform } from './notice';

const dialog = byId('camera', HTMLDialogElement);
const video = byId('camera-video', HTMLVideoElement);

let stream: MediaStream | undefined;

function stopStream(): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = undefined;
  video.srcObject = null;
}

async function open(): Promise<void> {
  if (!canRead('image')) return refuse();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  } catch (error) {
    const denied = error instanceof DOMException && error.name === 'NotAllowedError';
    const advice = denied ? 'Allow it in the browser’s address bar, or add a file instead.' : 'Add a file instead.';
    return inform(denied ? 'The camera was not allowed.' : 'There is no camera.', advice);
  }
  video.srcObject = stream;
  dialog.showModal();
  byId('camera-take', HTMLButtonElement).focus();
  await video.play().catch(() => undefined);
}

async function take(): Promise<void> {
  if (video.videoWidth === 0) return;
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext('2d')?.drawImage(video, 0, 0);
  dialog.close();
  await attach([await canvas.convertToBlob()]);
}

export function startCamera(): void {
  byId('add-camera', HTMLButtonElement).addEventListener('click', () => void open());
  byId('camera-take', HTMLButtonElement).addEventListener('click', () => void take());
  byId('camera-close', HTMLButtonElement).addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', stopStream);
}
