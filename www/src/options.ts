/**
 * Checks what callers give: one sentence for each mistake.
 *
 * Options of a pipeline that are wrong are `config`, those of a call are `request`. Types say the same to those who use
 * TypeScript. Not here: what only the model knows, such as the limits of sizes and steps, which the module checks.
 *
 * @module
 */

import { X2iError, type X2iErrorCode } from './errors.js';
import { absolute } from './here.js';

/** What an option must be: a test, and the words for it. */
type Rule = [is: (value: unknown) => boolean, words: string];

const text: Rule = [(value) => typeof value === 'string', 'a text'];
const truth: Rule = [(value) => typeof value === 'boolean', 'true or false'];
const number: Rule = [(value) => Number.isFinite(value), 'a number'];
const positive: Rule = [(value) => Number.isInteger(value) && (value as number) > 0, 'a whole number above 0'];
const listener: Rule = [(value) => typeof value === 'function', 'a function'];
const address: Rule = [isUrl, 'a URL'];
const signal: Rule = [(value) => isSignal(value), 'an AbortSignal'];
const weights: Rule = [(value) => isBytes(value), 'a Blob or a buffer'];
const list: Rule = [Array.isArray, 'a list'];
const object: Rule = [isObject, 'an object'];
const firstBlock: Rule = [(value) => value === 'off' || Number.isFinite(value), "'off' or a number"];

const RUNTIME: Record<string, Rule> = { thread: oneOf('worker', 'main'), workerUrl: address, wasmUrl: address };

const PIPELINE: Record<string, Rule> = {
  ...RUNTIME,
  device: oneOf('auto', 'cpu', 'webgpu'),
  cache: oneOf('auto', 'none'),
  evict: truth,
  persist: truth,
  headers: [(value) => typeof value === 'function' || isObject(value) || Array.isArray(value), 'headers or a function'],
  credentials: oneOf('omit', 'same-origin', 'include'),
  fetch: listener,
  hubUrl: address,
  loras: list,
  controlWeights: weights,
  onProgress: listener,
  onWarning: listener,
  signal,
  share: truth,
};

const GENERATE: Record<string, Rule> = {
  turns: list,
  init: object,
  control: object,
  steps: number,
  width: number,
  height: number,
  guidance: number,
  cache: firstBlock,
  conditioning: oneOf('prompt', 'answer'),
  videoFps: number,
  background: text,
  preview: truth,
  output: oneOf('bitmap', 'blob', 'pixels'),
  numImages: positive,
  signal,
};

/** Checks the options of functions without a model. */
export function checkRuntime(options: unknown): void {
  if (options === undefined) return;
  if (!isObject(options)) throw new X2iError('config', `the options must be an object, not ${show(options)}`);
  check('config', options, RUNTIME);
}

/** Checks the options of `createPipeline`. */
export function checkPipeline(options: unknown): void {
  if (!isObject(options)) throw new X2iError('config', "createPipeline needs an object, such as { model: 'emoji' }");
  checkModel(options.model);
  check('config', options, PIPELINE);
  for (const [index, lora] of ((options.loras ?? []) as unknown[]).entries()) checkLora(lora, `loras[${index}]`);
  const own = options.share && (options.loras || options.controlWeights);
  if (own) throw new X2iError('config', 'a shared pipeline takes no loras and no controlWeights: leave share away');
  if (options.share && (options.fetch || typeof options.headers === 'function')) {
    throw new X2iError(
      'config',
      'a shared pipeline outlives the functions of one tab: leave share, or fetch and headers, away',
    );
  }
}

/** Checks a model's location. */
export function checkModel(location: unknown): void {
  if (isAddress(location) && location !== '') return;
  const files = isObject(location) && text[0](location.name) && location.files;
  if (isObject(files) && Object.values(files).every(isAddress)) return;
  const forms =
    "'emoji', a folder's URL, OWNER/NAME of the Hugging Face Hub, or { name, files } with a URL for each file";
  throw new X2iError('config', `model must be ${forms}, not ${show(location)}`);
}

/** Checks the options of `generate`. */
export function checkGenerate(options: unknown): void {
  if (!isObject(options)) throw new X2iError('request', "generate needs an object, such as { prompt: 'a red apple' }");
  checkPrompt(options.prompt, 'prompt');
  check('request', options, GENERATE);
  for (const [index, turn] of ((options.turns ?? []) as unknown[]).entries()) {
    const name = `turns[${index}]`;
    if (!isObject(turn)) throw new X2iError('request', `${name} must be { prompt, answer }, not ${show(turn)}`);
    checkPrompt(turn.prompt, `${name}.prompt`);
    needed('request', turn, 'answer', text, name);
  }
  for (const [name, factor] of [
    ['init', 'strength'],
    ['control', 'scale'],
  ] as const) {
    const given = options[name] as Record<string, unknown> | undefined;
    if (given === undefined) continue;
    if (given.image == null) throw new X2iError('request', `${name}.image is missing`);
    check('request', given, { [factor]: number }, `${name}.`);
  }
}

/** Checks a name of a cached model. */
export function checkName(name: unknown): void {
  if (typeof name === 'string' && name !== '') return;
  throw new X2iError(
    'request',
    `the name of a cached model must be a text, as cachedModels() tells it, not ${show(name)}`,
  );
}

/** Checks a file for `readMetadata`. */
export function checkFile(file: unknown): void {
  if (!(file instanceof Blob)) throw new X2iError('request', `readMetadata needs a Blob, not ${show(file)}`);
}

function checkPrompt(prompt: unknown, name: string): void {
  if (typeof prompt === 'string') return;
  if (!Array.isArray(prompt) || prompt.length === 0) {
    throw new X2iError('request', `${name} must be a text or a list of parts, not ${show(prompt)}`);
  }
  for (const [index, part] of prompt.entries()) {
    if (typeof part === 'string') continue;
    const kinds = isObject(part) ? ['text', 'image', 'video', 'audio'].filter((kind) => part[kind] != null) : [];
    if (kinds.length !== 1) {
      const forms = 'a text, { text }, { image }, { video } or { audio }';
      throw new X2iError('request', `part ${index + 1} of ${name} must be ${forms}, not ${show(part)}`);
    }
    if (kinds[0] === 'text') needed('request', part as Record<string, unknown>, 'text', text, `${name}[${index}]`);
  }
}

function checkLora(lora: unknown, name: string): void {
  if (!isObject(lora)) throw new X2iError('config', `${name} must be { data, config?, scale? }, not ${show(lora)}`);
  needed('config', lora, 'data', weights, name);
  check('config', lora, { config: weights, scale: number }, `${name}.`);
}

/** Checks the options that are given; `prefix` stands before their names. */
function check(code: X2iErrorCode, options: Record<string, unknown>, rules: Record<string, Rule>, prefix = ''): void {
  for (const [name, [is, words]] of Object.entries(rules)) {
    const value = options[name];
    if (value === undefined || is(value)) continue;
    throw new X2iError(code, `${prefix}${name} must be ${words}, not ${show(value)}`);
  }
}

function needed(
  code: X2iErrorCode,
  options: Record<string, unknown>,
  name: string,
  [is, words]: Rule,
  of: string,
): void {
  const value = options[name];
  if (!is(value)) throw new X2iError(code, `${of}.${name} must be ${words}, not ${show(value)}`);
}

function oneOf(...choices: string[]): Rule {
  const quoted = choices.map((choice) => `'${choice}'`);
  const last = quoted.pop();
  return [(value) => choices.includes(value as string), `${quoted.join(', ')} or ${last}`];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isAddress(value: unknown): boolean {
  return typeof value === 'string' || value instanceof URL;
}

function isUrl(value: unknown): boolean {
  try {
    return isAddress(value) && absolute(value as string | URL) !== '';
  } catch {
    return false;
  }
}

/** Also a signal of another realm. */
function isSignal(value: unknown): boolean {
  return isObject(value) && typeof value.aborted === 'boolean' && typeof value.addEventListener === 'function';
}

function isBytes(value: unknown): boolean {
  return value instanceof Blob || value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}

/** A value in a message. */
function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 60)}…` : value}'`;
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (!isObject(value)) return typeof value === 'function' ? 'a function' : String(value);
  const keys = Object.keys(value);
  const name = value.constructor?.name ?? 'Object';
  return name === 'Object' ? `{ ${keys.join(', ')} }`.replace('{  }', '{}') : `a ${name}`;
}
