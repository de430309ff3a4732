/**
 * The element `<x2i-image>`: an image that is generated where it stands.
 *
 * ```html
 * <script type="module">
 *   import '@x2i/web/element';
 * </script>
 * <x2i-image prompt="a red apple on a blue background" seed="7" model="emoji"></x2i-image>
 * ```
 *
 * Nothing is downloaded before the visitor presses its button, unless `start` says otherwise: `now`, or `visible` (when it
 * scrolls into view). All elements of a page with the same model share one pipeline. Its parts for styles are `image`,
 * `button`, `status`, `progress` and `error`; its events are `x2i-progress`, `x2i-image` and `x2i-error`.
 *
 * @module
 */

import { toX2iError, X2iError } from './errors.js';
import { type KeptOptions, take } from './keep.js';
import type { GenerateOptions, GenerationResult, LoadProgress, PromptPart, StepProgress } from './types.js';

/** Attributes of the model, and those of the image. */
const OF_MODEL = ['model', 'device', 'share'];
const OF_IMAGE = ['prompt', 'seed', 'steps', 'width', 'height', 'guidance', 'conditioning'];

const STYLE = `
  :host { display: inline-block; position: relative; min-width: 64px; min-height: 64px; }
  :host([hidden]) { display: none; }
  canvas { display: block; width: 100%; height: auto; }
  canvas[hidden], button[hidden], [part='status'][hidden], [part='error'][hidden] { display: none; }
  button { font: inherit; min-height: 44px; padding: 0 1em; }
  progress { width: 100%; }
`;

/** On a server, where the element only has to be importable. */
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

/** The element `<x2i-image>`. */
export class X2iImage extends Base {
  static readonly observedAttributes = [...OF_MODEL, ...OF_IMAGE, 'alt'];

  /** The finished image, with its PNG and metadata. */
  result: GenerationResult<'bitmap'> | undefined;
  #input: string | PromptPart[] | undefined;
  #started = false;
  #waiting = false;
  #taken: ReturnType<typeof take> | undefined;
  #running: AbortController | undefined;
  #seen: IntersectionObserver | undefined;

  /** The prompt: the attribute, or what was set: a text, or parts with images, videos and audio. */
  get prompt(): string | PromptPart[] {
    return this.#input ?? this.getAttribute('prompt') ?? '';
  }

  set prompt(prompt: string | PromptPart[]) {
    if (typeof prompt === 'string') {
      this.#input = undefined;
      this.setAttribute('prompt', prompt);
      return;
    }
    this.#input = prompt;
    this.#name();
    this.#again();
  }

  connectedCallback(): void {
    if (!this.shadowRoot) this.#build();
    this.#name();
    const start = this.getAttribute('start');
    if (start === 'now' || this.#started) void this.generate();
    else if (start === 'visible') this.#whenSeen();
  }

  disconnectedCallback(): void {
    this.#seen?.disconnect();
    this.stop();
    this.#taken?.release();
    this.#taken = undefined;
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (name === 'prompt') this.#input = undefined;
    if (OF_MODEL.includes(name)) {
      this.#taken?.release();
      this.#taken = undefined;
    }
    this.#name();
    if (name !== 'alt') this.#again();
  }

  /** Generates with the present attributes, and stops the call before it. Failures are the event `x2i-error`. */
  async generate(): Promise<GenerationResult<'bitmap'> | undefined> {
    this.stop();
    this.#started = true;
    const running = new AbortController();
    this.#running = running;
    this.#show({ busy: true });
    try {
      const result = await this.#paint(running.signal);
      if (this.#running !== running) return undefined;
      this.#finish(result);
      return result;
    } catch (thrown) {
      const error = toX2iError(thrown);
      if (this.#running !== running || error.code === 'aborted') return undefined;
      this.#show({ error });
      this.#tell('x2i-error', error);
      return undefined;
    } finally {
      if (this.#running === running) this.#running = undefined;
    }
  }

  /** Stops the running call. */
  stop(): void {
    const running = this.#running;
    this.#running = undefined;
    running?.abort(new X2iError('aborted', 'stopped'));
    if (running) this.#show({});
  }

  async #paint(signal: AbortSignal): Promise<GenerationResult<'bitmap'>> {
    this.#taken ??= take(this.#model(), { onProgress: (progress) => this.#progress(progress) });
    const taken = this.#taken;
    const pipeline = await taken.pipeline.catch((error) => {
      if (this.#taken === taken) this.#taken = undefined;
      taken.release();
      throw error;
    });
    signal.throwIfAborted();
    const run = pipeline.generate({ ...this.#request(), signal });
    for await (const step of run) if (!signal.aborted) this.#progress(step);
    return run.result;
  }

  #model(): KeptOptions {
    const device = this.getAttribute('device');
    return {
      model: this.getAttribute('model') ?? 'emoji',
      ...(device !== null && { device: device as 'auto' }),
      ...(this.hasAttribute('share') && { share: true }),
    };
  }

  #request(): GenerateOptions {
    const number = (name: 'steps' | 'width' | 'height' | 'guidance') => {
      const value = this.getAttribute(name);
      return value !== null && { [name]: value.trim() === '' ? Number.NaN : Number(value) };
    };
    const conditioning = this.getAttribute('conditioning');
    return {
      prompt: this.prompt,
      ...number('steps'),
      ...number('width'),
      ...number('height'),
      ...number('guidance'),
      ...(conditioning !== null && { conditioning: conditioning as 'prompt' }),
      ...this.#seed(),
    };
  }

  #seed(): { seed?: bigint } {
    const seed = this.getAttribute('seed');
    if (seed === null) return {};
    if (!/^\d{1,20}$/.test(seed)) throw new X2iError('request', `seed="${seed}" must be a whole number`);
    return { seed: BigInt(seed) };
  }

  /** Once for all attributes that change together. */
  #again(): void {
    if (!this.#started || this.#waiting || !this.isConnected) return;
    this.#waiting = true;
    queueMicrotask(() => {
      this.#waiting = false;
      if (this.isConnected) void this.generate();
    });
  }

  #whenSeen(): void {
    this.#seen = new IntersectionObserver((entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      this.#seen?.disconnect();
      void this.generate();
    });
    this.#seen.observe(this);
  }

  #build(): void {
    const root = this.attachShadow({ mode: 'open' });
    // A style sheet as an object needs no permission of a Content-Security-Policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const button = made('button', 'button', { type: 'button' });
    button.append(made('slot', '', { name: 'button' }, 'Generate'));
    const status = made('div', 'status', { role: 'status', hidden: '' });
    status.append(made('progress', 'progress', { max: '1' }), made('span', ''));
    const image = made('canvas', 'image', { role: 'img', hidden: '' });
    root.append(image, button, status, made('div', 'error', { role: 'alert', hidden: '' }));
    this.#part('button').addEventListener('click', () => void this.generate());
  }

  #part<T extends HTMLElement = HTMLElement>(name: string): T {
    return this.shadowRoot?.querySelector(`[part='${name}']`) as T;
  }

  /** The alternative text: the attribute, else the prompt's words. */
  #name(): void {
    if (!this.shadowRoot) return;
    const { prompt } = this;
    const words = typeof prompt === 'string' ? prompt : prompt.map(wordsOf).join(' ').trim();
    this.#part('image').setAttribute('aria-label', this.getAttribute('alt') ?? words);
    this.#part('progress').setAttribute('aria-label', words || 'image');
  }

  #finish(result: GenerationResult<'bitmap'>): void {
    this.result = result;
    const canvas = this.#part<HTMLCanvasElement>('image');
    canvas.width = result.width;
    canvas.height = result.height;
    canvas.getContext('2d')?.drawImage(result.image, 0, 0);
    this.#show({});
    this.#tell('x2i-image', result);
  }

  #progress(progress: LoadProgress | StepProgress): void {
    const { done, total, eta, phase } = progress;
    const bar = this.#part<HTMLProgressElement>('progress');
    if (total > 0) bar.value = done / total;
    const words = {
      download: 'Downloading',
      load: 'Loading',
      encode: 'Reading',
      denoise: 'Painting',
      decode: 'Painting',
    };
    const left = eta === undefined ? '' : `, ${Math.ceil(eta)} s`;
    const line = this.shadowRoot?.querySelector('span');
    if (line) line.textContent = `${words[phase]}${left}`;
    if ('preview' in progress && progress.preview) this.#preview(progress.preview);
    this.#tell('x2i-progress', progress);
  }

  #preview(preview: ImageData): void {
    const canvas = this.#part<HTMLCanvasElement>('image');
    canvas.width = preview.width;
    canvas.height = preview.height;
    canvas.getContext('2d')?.putImageData(preview, 0, 0);
    canvas.hidden = false;
  }

  #show({ busy = false, error }: { busy?: boolean; error?: X2iError }): void {
    if (!this.shadowRoot) return;
    this.#part('image').hidden = !this.result && !busy;
    this.#part('button').hidden = busy || (!!this.result && !error);
    this.#part('status').hidden = !busy;
    const place = this.#part('error');
    place.hidden = !error;
    place.textContent = error?.message ?? '';
    this.setAttribute('aria-busy', String(busy));
  }

  #tell(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }));
  }
}

/** An element of the shadow tree; a page with Trusted Types allows no markup. */
function made(tag: string, part: string, attributes: Record<string, string> = {}, text = ''): HTMLElement {
  const element = document.createElement(tag);
  if (part) element.setAttribute('part', part);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function wordsOf(part: PromptPart): string {
  if (typeof part === 'string') return part;
  return 'text' in part ? part.text : '';
}

if (globalThis.customElements && !customElements.get('x2i-image')) customElements.define('x2i-image', X2iImage);

declare global {
  interface HTMLElementTagNameMap {
    'x2i-image': X2iImage;
  }
}
