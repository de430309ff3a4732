/** A sound from the microphone: one button that begins and ends, and the time while it runs. */

import { recordAudio, type Recording } from '@x2i/web';
import { attach, canRead, refuse } from './attach';
import { byId } from './dom';
import { announce } from './live';
import { inform } from './notice';

/** As long as a caption takes, several times over. */
const MAX_SECONDS = 30;

const button = byId('add-sound', HTMLButtonElement);
const reads = byId('reads', HTMLParagraphElement);

let recording: Recording | undefined;
let asking = false;

function show(isRecording: boolean): void {
  const label = isRecording ? 'Stop recording' : 'Record a sound';
  button.setAttribute('aria-label', label);
  button.title = label;
  button.classList.toggle('live', isRecording);
}

async function record(): Promise<void> {
  asking = true;
  try {
    recording = await recordAudio({ maxSeconds: MAX_SECONDS });
  } catch (error) {
    const denied = error instanceof Error && /not allowed/.test(error.message);
    const advice = denied ? 'Allow it in the browser’s address bar, or add a file instead.' : 'Add a file instead.';
    return inform(denied ? 'The microphone was not allowed.' : 'There is no microphone.', advice);
  } finally {
    asking = false;
  }
  show(true);
  announce('Recording');
  const began = performance.now();
  const said = reads.textContent;
  const tick = () => (reads.textContent = `Recording, ${Math.floor((performance.now() - began) / 1000)} s`);
  tick();
  const timer = setInterval(tick, 250);
  try {
    await attach([await recording.result]);
  } catch {
    inform('The microphone stopped working.', 'Add a file instead.');
  } finally {
    clearInterval(timer);
    recording = undefined;
    reads.textContent = said;
    show(false);
  }
}

export function startRecord(): void {
  button.addEventListener('click', () => {
    if (!canRead('audio')) return refuse();
    if (recording) recording.stop();
    else if (!asking) void record();
  });
}
