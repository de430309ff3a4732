/**
 * The types of the public interface. Not here: the messages to the worker (`messages.ts`).
 *
 * @module
 */

/// <reference lib="esnext.disposable" preserve="true" />

/** The location of a model's files, one by one. */
export interface ModelFiles {
  /** The name under which the files are cached and listed. */
  name: string;
  /** The URL of each file, by its path in the model folder (`model.json`, `flux.gguf`). */
  files: Record<string, string | URL>;
}

/**
 * `'emoji'` (package `@x2i/model-emoji`), the URL of a folder that holds `model.json`, a repository of the Hugging Face
 * Hub that is such a folder (`'owner/name'`, `'hf:owner/name@revision'`), or single files. A folder of the page's own
 * site is written `'./models/flux'` or `'/models/flux/'`.
 */
export type ModelLocation = 'emoji' | (string & {}) | URL | ModelFiles;

/** `auto`: a hardware WebGPU adapter, else the CPU. `webgpu`: the WebGPU adapter, even a software one. */
export type DeviceChoice = 'auto' | 'cpu' | 'webgpu';

/** Facts about a device. */
export interface DeviceInfo {
  kind: 'cpu' | 'webgpu';
  /** The adapter's name, or `CPU`. */
  name: string;
  /** True for an adapter that is emulated on the CPU. */
  software: boolean;
  /** True when shaders can compute in f16. */
  f16: boolean;
  /** True when shaders have subgroup operations. */
  subgroups: boolean;
  /** Threads that compute, of a pipeline's device; more than one only on the CPU of an isolated page. */
  threads?: number;
}

/** One part of a prompt; parts are read in order. */
export type PromptPart =
  | string
  | { text: string }
  | { image: ImageSource }
  | { video: VideoSource }
  | { audio: AudioSource };

/** A file: a `Blob`, its bytes, its address (relative to the page), or a response with it. */
export type FileSource = Blob | BufferSource | Response | URL | string;

/**
 * An image: a file, which is rotated as EXIF says; what an element shows now (of a video, the current frame); a canvas;
 * a frame; or pixels.
 */
export type ImageSource =
  | FileSource
  | ImageBitmap
  | ImageData
  | HTMLImageElement
  | SVGImageElement
  | HTMLVideoElement
  | HTMLCanvasElement
  | OffscreenCanvas
  | VideoFrame;

/**
 * A video: a file (MP4, MOV, WebM, Matroska, or an animated GIF, WebP or PNG), an element that plays one, or its frames.
 */
export type VideoSource = FileSource | HTMLVideoElement | VideoFrames;

/** The frames of a video, all of one size. The LLM reads all of them; of a file, it reads a sample. */
export interface VideoFrames {
  frames: ImageSource[];
  /** Frames per second; default: the model's rate (1 in all published models). */
  fps?: number;
}

/** Audio: an audio or video file in any format that the browser decodes, an element that plays one, or samples. */
export type AudioSource = FileSource | HTMLMediaElement | AudioBuffer | AudioSamples;

/** The samples of one channel, in -1..1. */
export interface AudioSamples {
  samples: Float32Array;
  sampleRate: number;
}

/** An earlier turn of a conversation. */
export interface Turn {
  /** The prompt of that turn. */
  prompt: string | PromptPart[];
  /** The LLM's answer: `answer` of that turn's {@link Painting}. */
  answer: string;
}

/** A weight file: safetensors, GGUF or a PyTorch pickle. Messages and metadata have the name of a `File`. */
export type WeightData = Blob | BufferSource;

/** A LoRA of the transformer (also DoRA, LoHa or LoKr), with the names of diffusers, PEFT, kohya, LyCORIS, BFL or x-labs. */
export interface Lora {
  data: WeightData;
  /** PEFT's `adapter_config.json`, which stands beside `adapter_model.safetensors` and says what its alphas are. */
  config?: WeightData;
  /** The factor of its change to the matrices; default 1. */
  scale?: number;
}

/** The form of a result. */
export type Output = 'bitmap' | 'blob' | 'pixels';

/** The thread of the code, and the location of its files. */
export interface RuntimeOptions {
  /** `worker` (default) keeps the page's own thread free; `main` runs here, for pages that can't have workers. */
  thread?: 'worker' | 'main';
  /** The URL of the worker's script, if it is not next to this module. */
  workerUrl?: string | URL;
  /** The URL of `x2i_web_bg.wasm`, if it is not next to the worker. */
  wasmUrl?: string | URL;
}

/** How a model's files are requested. */
export interface NetworkOptions {
  /**
   * Sent with every request to the servers of {@link PipelineOptions.model}, such as `{ Authorization: 'Bearer ...' }`;
   * or a function of the address. Browsers drop `Authorization` where a server redirects to another.
   */
  headers?: HeadersInit | ((url: string) => HeadersInit | Promise<HeadersInit>);
  /** As `fetch`'s: `include` sends cookies to other origins, too. */
  credentials?: RequestCredentials;
  /** Called in place of `fetch`, on the thread that made the pipeline. */
  fetch?: typeof globalThis.fetch;
  /** A mirror of the Hugging Face Hub; default `https://huggingface.co`. */
  hubUrl?: string | URL;
}

export interface PipelineOptions extends RuntimeOptions, NetworkOptions {
  model: ModelLocation;
  /** Default `auto`. */
  device?: DeviceChoice;
  /** `auto` (default) keeps weights in OPFS or Cache Storage; `none` reads ranges from the network. */
  cache?: 'auto' | 'none';
  /**
   * The most memory of the model, in bytes or as `'2GiB'`, `'2G'` or `'2000M'`: the flag `--max-device-memory` of the
   * native program. Transformer blocks that do not fit are read from the cache in every step, and the image is the same,
   * bit for bit. Default: 3 GiB on the CPU, on a GPU twice its largest buffer.
   */
  maxDeviceMemory?: number | string;
  /**
   * Whether other models of this package may be removed from the cache, the one that was used longest ago first, where
   * the browser has no room for this one; default false. Models that a tab uses stay.
   */
  evict?: boolean;
  /**
   * Whether the browser is asked to keep this site's storage when the disk fills up; default: for downloads of 100 MB
   * and more. Firefox asks the user.
   */
  persist?: boolean;
  /** LoRAs of the transformer; all are applied. */
  loras?: Lora[];
  /** LightControl's weights, for requests with a `control`. */
  controlWeights?: WeightData;
  /** Called during download and loading, but not for a restart after a lost device. */
  onProgress?: (progress: LoadProgress) => void;
  /** Called for problems that do not stop the work, such as a full disk. */
  onWarning?: (warning: Warning) => void;
  /** Stops download and loading. */
  signal?: AbortSignal;
  /**
   * True for one pipeline of all tabs of this origin that ask for the same model on the same device; not with `loras` or
   * `controlWeights`. One of the tabs holds it; when that tab closes, another one loads the model from the cache and
   * repeats the calls that were running.
   */
  share?: boolean;
}

/** Progress of download and loading. */
export interface LoadProgress {
  phase: 'download' | 'load';
  /** The file that is being downloaded (`download`). */
  file?: string;
  /** Finished bytes: of all files (`download`), or of the weights (`load`). */
  done: number;
  total: number;
  /** Remaining seconds at the speed so far; absent until it is known. */
  eta?: number;
  /** True while bytes come from the cache. */
  cached?: boolean;
}

/** A problem that did not stop the work. */
export interface Warning {
  /**
   * `cache-unavailable`, `quota`: files are not kept for the next visit. `damaged`: cached files were wrong, and are
   * downloaded again. `evicted`: other models were removed. `streamed`: what does not fit is read in every step.
   * `unverified`: a file's hash is not checked.
   */
  code: 'cache-unavailable' | 'damaged' | 'evicted' | 'lora' | 'quota' | 'streamed' | 'unverified';
  message: string;
}

export interface GenerateOptions {
  /** Text, or parts in order. */
  prompt: string | PromptPart[];
  /** Earlier turns, oldest first; the LLM reads the last of them, as many as the model's limit. */
  turns?: Turn[];
  /** The initial image (img2img), resized to the size of the new one. */
  init?: {
    image: ImageSource;
    /** The share of the steps that run on it, above 0 and at most 1; default 0.6. */
    strength?: number;
  };
  /** The control image, resized likewise; needs {@link PipelineOptions.controlWeights}. */
  control?: {
    image: ImageSource;
    /** The factor of LightControl's terms; default 1. */
    scale?: number;
  };
  /** The seed of the noise, below 2^64; default: a random one, which the result holds. */
  seed?: number | bigint;
  /** Default: the model's. */
  steps?: number;
  /** In pixels, a multiple of 16; default: the model's. */
  width?: number;
  height?: number;
  guidance?: number;
  /**
   * First-block caching: the threshold under which a step reuses the work of an earlier one, such as 0.1. The larger,
   * the faster, and the further from the image without; default `off`.
   */
  cache?: 'off' | number;
  /** Whose hidden states condition the image: the prompt's or those of the LLM's answer; default: the model's. */
  conditioning?: 'prompt' | 'answer';
  /** Frames per second that the LLM reads of videos; default: the model's. */
  videoFps?: number;
  /**
   * What lies under the transparent pixels of images and videos: `white` (default), `black`, or six digits in hex such
   * as `3366cc`. `dropped` ignores transparency; of a file, pixels that are not seen at all are then black.
   */
  background?: string;
  /** Whether each step has a preview; default true. */
  preview?: boolean;
  /** The form of `result.image`; default `bitmap`. */
  output?: Output;
  /** Images to generate, with the seeds `seed`, `seed + 1`, ...; default 1. */
  numImages?: number;
  /** Aborts within one transformer block. */
  signal?: AbortSignal;
}

/** Progress of one image. */
export interface StepProgress {
  phase: 'encode' | 'denoise' | 'decode';
  /** The step of `steps` that is running or has just finished (`denoise`). */
  step: number;
  steps: number;
  /** The image of `numImages` that this is about, from 0. */
  index: number;
  numImages: number;
  /** Units of this phase: tokens, transformer blocks over all steps, parts of the decoder. */
  done: number;
  total: number;
  /** Remaining seconds of all images of the call; absent until it is known. */
  eta?: number;
  /** The preview, after each step. */
  preview?: ImageData;
  /** The LLM's answer, in the last event of `encode`, if it conditions the image. */
  answer?: string;
}

/** A finished image. */
export interface Painting<O extends Output = Output> {
  image: O extends 'bitmap' ? ImageBitmap : O extends 'blob' ? Blob : Uint8ClampedArray;
  width: number;
  height: number;
  /** The PNG with its metadata; `x2i generate --from` replays it. */
  png: Blob;
  /** The metadata of the PNG. */
  metadata: Metadata;
  seed: bigint;
  /** The LLM's answer, if it conditioned the image. */
  answer?: string;
  /** How sure the LLM was of its answer: the probability of the least certain token, 0 to 1. */
  certainty?: number;
  /** The name of what the LLM does not know, if its answer says so. */
  unknown?: string;
  /**
   * What else it could have answered, at most three, the likeliest first; absent if it knows what was asked for and the
   * model counts its answer as sure.
   */
  alternatives?: Alternative[];
  /** Milliseconds of each phase. */
  timings: { encode: number; denoise: number; decode: number; total: number };
}

/**
 * Another answer: it begins alike and goes on with another token where the LLM was least certain. To an answer that names
 * something unknown, it is one that begins otherwise.
 */
export interface Alternative {
  answer: string;
  /** What it names in place of what is unknown. */
  name?: string;
  /** Of that token, 0 to 1; of a first one, if the answer's own first one is not allowed. */
  probability: number;
}

/** All images of a call. */
export interface GenerationResult<O extends Output = Output> extends Painting<O> {
  /** As many as `numImages`; the first is this object's own. */
  images: Painting<O>[];
}

/** A running generation: its steps, and its result. Leaving the loop early does not stop it; `signal` does. */
export interface Generation<O extends Output = Output> extends AsyncIterable<StepProgress> {
  /** The first image, and in `images` all of them in the order of their seeds. */
  readonly result: Promise<GenerationResult<O>>;
}

/** The metadata of a PNG, in the native program's format. */
export interface Metadata {
  format: number;
  versions: { x2i: string; burn: string };
  model: { name: string; place: string; files: Record<string, string> };
  prompt: Array<{ text: string } | { image: UsedFile } | { video: UsedFile & { fps: number } } | { audio: UsedFile }>;
  width: number;
  height: number;
  steps: number;
  guidance: number;
  /** The threshold of first-block caching, if it was on. */
  cache?: number;
  /** A bigint if a number cannot hold it. */
  seed: number | bigint;
  conditioning: 'prompt' | 'answer';
  sampler: string;
  /** `exact`: the flag `--exact` of the native program was set. */
  device: { id: string; name: string; exact?: true };
  answer?: string;
  loras?: Array<{ weights: UsedFile; config?: UsedFile; scale: number }>;
  init?: { picture: UsedFile; strength: number };
  control?: { picture: UsedFile; weights: UsedFile; scale: number };
  /** As {@link GenerateOptions.background}; absent for white. */
  background?: string;
}

/** The record of a file that was used for an image. */
export interface UsedFile {
  file: string;
  sha256: string;
}

/** A kind of input. */
export type Modality = 'text' | 'image' | 'video' | 'audio';

/** A loaded model. */
export interface ModelInfo {
  name: string;
  license?: string;
  /** The kinds of input that it reads. */
  modalities: Modality[];
  defaults: { width: number; height: number; steps: number; guidance: number; conditioning: 'prompt' | 'answer' };
}

/** A model before it is downloaded. */
export interface ModelDescription {
  name: string;
  license?: string;
  files: Array<{ path: string; bytes: number; cachedBytes: number }>;
  bytes: number;
  cachedBytes: number;
}

/** A model in the cache. */
export interface CachedModel {
  name: string;
  /** Of its files, those of an unfinished download too. Models that share a file both count it. */
  bytes: number;
  /** When it was last loaded, in milliseconds since 1970. */
  lastUsed: number;
}

/** A model on a device. */
export interface Pipeline {
  readonly device: DeviceInfo;
  readonly model: ModelInfo;
  /** Generates an image; several calls run one after another. */
  generate<O extends Output = 'bitmap'>(options: GenerateOptions & { output?: O }): Generation<O>;
  /** Stops all calls and frees the device. */
  close(): void;
  /** The same as {@link close}: `using x2i = await createPipeline(...)`. */
  [Symbol.dispose](): void;
  [Symbol.asyncDispose](): Promise<void>;
}
