/**
 * The work behind the page: finds the model, downloads it when told to, and paints one job after another.
 * Knows the library and the state, and no element of the page.
 */

import { createPipeline, describeModel, listDevices, X2iError, type DeviceChoice, type Painting, type Pipeline, type StepProgress } from '@x2i/web';
import { explain, isAbort, isUnreached } from './errors';
import { announce } from './live';
import { inform, tell } from './notice';
import { state, update, type Job } from './state';
import { addPicture, thumbnailOf, type Picture } from './store';
import { doubt, type Confidence } from './understood';
import { count, NO_WORK } from './work';
import { loadConcepts } from './words';

/** `?model=URL` names a folder with another model; a relative one is beside this page. */
function modelLocation(): string {
  const asked = new URLSearchParams(location.search).get('model');
  if (asked === null) return BUILT_IN;
  return URL.canParse(asked, location.href) ? new URL(asked, location.href).href : asked;
}

const BUILT_IN = 'emoji';
export const MODEL = modelLocation();
export const IS_BUILT_IN = MODEL === BUILT_IN;
/** Whether the model was on this device at the last visit: it is then opened at once. */
const KNOWN = `x2i-has-${MODEL}`;
let choice: DeviceChoice = 'auto';
let pipeline: Pipeline | undefined;
/** Stops the download, or the job that runs. */
let stop: AbortController | undefined;
let working = false;
/** Whether the model was asked for. */
let isSought = false;
let nextJob = 1;
let nextUnstored = -1;

/** Loads the model if it is on this device, or if a picture waits for it; else it is `absent`. */
export async function findModel(): Promise<void> {
  isSought = true;
  update({ model: { kind: 'checking' } });
  try {
    // Both at once, and before a pipeline: the library then answers from one worker, which the pipeline takes over.
    const [description, devices] = await Promise.all([describeModel(MODEL), listDevices().catch(() => [])]);
    update({ devices });
    if (description.cachedBytes >= description.bytes) await loadModel();
    else update({ model: { kind: 'absent', description } });
  } catch (error) {
    fail(error, findModel);
  }
}

/** Downloads what is missing and loads the model; the jobs that wait are painted then. */
export async function loadModel(): Promise<void> {
  pipeline?.close();
  pipeline = undefined;
  const before = state().model;
  update({ model: { kind: 'loading' }, notice: undefined });
  announce('Loading the model');
  stop = new AbortController();
  try {
    pipeline = await createPipeline({
      model: MODEL,
      device: choice,
      signal: stop.signal,
      onProgress: (progress) => update({ model: { kind: 'loading', progress } }),
      onWarning: ({ code, message }) =>
        code === 'streamed'
          ? inform('This model is larger than the memory of a tab.', `It paints, and takes longer. (${message})`)
          : inform('The model could not be kept on this device.', `It works for this visit. (${message})`),
    });
    update({ model: { kind: 'ready', device: pipeline.device, model: pipeline.model }, unreached: false });
    remember();
    if (pipeline.model.name === BUILT_IN) void loadConcepts();
    announce(`Ready to paint on ${pipeline.device.name}`);
  } catch (error) {
    if (!isAbort(error)) return fail(error, loadModel);
    update({ model: before.kind === 'absent' ? before : { kind: 'failed' }, queue: [] });
    return inform('The download was stopped.', 'What has arrived is kept. Paint goes on from there.');
  }
  void paintQueue();
}

/** Tells of a model that can't be had, with its address and ways out. */
function fail(error: unknown, again: () => Promise<void>): void {
  update({ model: { kind: 'failed' }, unreached: isUnreached(error) });
  const { text, advice = '' } = explain(error);
  const action = { label: 'Try again', run: () => void again() };
  if (IS_BUILT_IN || import.meta.env.MODE === 'server') return tell({ tone: 'error', text, advice, action });
  const where = text.includes(MODEL) ? advice : `${advice} Its address is ${MODEL}`;
  tell({ tone: 'error', text, advice: where, action, link: { label: 'Use the built-in model', href: './' } });
}

/** For the next visit, which then need not wait for the page to settle. */
function remember(): void {
  try {
    localStorage.setItem(KNOWN, 'yes');
  } catch {
    // Without it the next visit is a little slower.
  }
}

function isKnown(): boolean {
  try {
    return localStorage.getItem(KNOWN) !== null;
  } catch {
    return false;
  }
}

/**
 * Fetches the program, which asks for the model. A first visit shows its page before; one that saves data fetches
 * nothing before it is told to.
 */
export function startStudio(): void {
  const { connection } = navigator as Navigator & { connection?: { saveData?: boolean } };
  if (import.meta.env.MODE === 'server' || isKnown()) void findModel();
  else if (connection?.saveData) update({ model: { kind: 'absent' } });
  else if (document.readyState === 'complete') void findModel();
  else addEventListener('load', () => void (isSought || findModel()), { once: true });
}

/** Takes another device: at once when idle, else before the next picture. */
export async function chooseDevice(next: DeviceChoice): Promise<void> {
  choice = next;
  const { kind } = state().model;
  if (working || (kind !== 'ready' && kind !== 'failed')) return;
  await loadModel();
}

/** Puts a picture into the queue. */
export function paint(job: Omit<Job, 'id'>): void {
  const queued: Job = { ...job, id: nextJob++ };
  update({ queue: [...state().queue, queued], notice: undefined });
  if (state().queue.length > 1 || state().running) announce(`Waiting: ${state().queue.length}`);
  if (state().model.kind === 'failed' || (state().model.kind === 'checking' && !isSought)) void findModel();
  void paintQueue();
}

/** Takes a job that waits out of the queue. */
export function forget(id: number): void {
  update({ queue: state().queue.filter((job) => job.id !== id) });
}

/** Stops the download or the picture that is being painted; those that wait go on. Before a download, forgets them. */
export function cancel(): boolean {
  if (state().model.kind === 'checking' && state().queue.length > 0) {
    update({ queue: [] });
    announce('Cancelled');
    return true;
  }
  if (stop === undefined || stop.signal.aborted) return false;
  if (!state().running && state().model.kind !== 'loading') return false;
  stop.abort();
  return true;
}

async function paintQueue(): Promise<void> {
  if (working || pipeline === undefined) return;
  working = true;
  const device = choice;
  for (let job = state().queue[0]; job !== undefined && choice === device; job = state().queue[0]) {
    update({ queue: state().queue.slice(1), running: { job, work: NO_WORK } });
    await paintJob(pipeline, job);
    update({ running: undefined });
  }
  working = false;
  if (choice !== device) await loadModel();
}

async function paintJob(on: Pipeline, job: Job): Promise<void> {
  stop = new AbortController();
  if (state().shown.kind === 'compare') update({ shown: { kind: 'nothing' }, picked: [] });
  try {
    const generation = on.generate({ ...job.options, prompt: job.parts, output: 'blob', signal: stop.signal });
    // A failure is thrown by the loop or by the result; hear it once.
    generation.result.catch(() => undefined);
    for await (const progress of generation) hear(job, progress);
    await keep(job, await generation.result, on);
  } catch (error) {
    update({ unreached: isUnreached(error) });
    if (isAbort(error)) announce('Cancelled');
    else tell({ ...explain(error), ...retry(job, error) });
  }
}

function hear(job: Job, progress: StepProgress): void {
  // The last preview stays until there is a newer one.
  const before = state().running;
  const preview = progress.preview ?? before?.progress?.preview;
  const answer = progress.answer ?? before?.answer;
  const shown = preview === undefined ? progress : { ...progress, preview };
  const work = count(before?.work ?? NO_WORK, progress);
  update({ running: { job, work, progress: shown, ...(answer === undefined ? {} : { answer }) } });
}

function retry(job: Job, error: unknown): { action?: { label: string; run: () => void } } {
  const again = error instanceof X2iError && ['device-lost', 'internal', 'network'].includes(error.code);
  return again ? { action: { label: 'Paint again', run: () => paint(job) } } : {};
}

/** What the model understood, or why that is a guess. */
function spokenAnswer({ text, answer, confidence = {}, isOfWords }: Picture): string {
  if (answer === undefined) return '';
  return doubt(isOfWords ? text : '', answer, confidence, state().concepts)?.text ?? `Understood as: ${answer}`;
}

/** How sure the model is. A version of the library that can't tell says nothing. */
function confidenceOf(painting: Painting<'blob'>): Confidence {
  const { certainty, unknown, alternatives } = painting as Painting<'blob'> & Confidence;
  return {
    ...(certainty === undefined ? {} : { certainty }),
    ...(unknown === undefined ? {} : { unknown }),
    ...(alternatives === undefined ? {} : { alternatives }),
  };
}

async function keep(job: Job, painting: Painting<'blob'>, on: Pipeline): Promise<void> {
  const record: Omit<Picture, 'id'> = {
    made: Date.now(),
    png: painting.png,
    thumbnail: await thumbnailOf(painting.png, painting.width, painting.height),
    text: job.text,
    lang: job.lang,
    width: painting.width,
    height: painting.height,
    seed: painting.seed,
    steps: painting.metadata.steps,
    device: on.device.name,
    model: on.model.name,
    timings: painting.timings,
    ...(painting.answer === undefined ? {} : { answer: painting.answer, confidence: confidenceOf(painting) }),
    work: state().running?.work ?? NO_WORK,
    isOfWords: job.parts.every((part) => typeof part === 'string' || 'text' in part),
  };
  let picture: Picture;
  try {
    picture = await addPicture(record);
  } catch (error) {
    picture = { ...record, id: nextUnstored-- };
    const full = error instanceof DOMException && error.name === 'QuotaExceededError';
    inform(
      full ? 'The gallery is full.' : 'The gallery could not store this picture.',
      full ? 'Delete some pictures; until then new ones are kept for this visit only.' : 'It is kept for this visit only.',
    );
  }
  update({ pictures: [picture, ...state().pictures], shown: { kind: 'picture', picture }, unreached: false });
  announce(`Picture ready: ${picture.text}, seed ${picture.seed}. ${spokenAnswer(picture)}`);
}
