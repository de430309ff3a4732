/**
 * What callers give and get. The worker speaks `messages.ts`; nothing here knows of it.
 *
 * @module
 */

/** Where a model's files are. */
export interface ModelFiles {
  /** The name under which the files are cached and listed. */
  name: string;
  /** The files by their path in the model folder (`model.json`, `flux.gguf`), and where each is. */
  files: Record<string, string | URL>;
}

/** `'emoji'` (package `@x2i/model-emoji`), the URL of a folder that holds `model.json`, or single files. */
export type ModelLocation = 'emoji' | (string & {}) | URL | ModelFiles;

/** `auto`: a hardware WebGPU adapter, else the CPU; a software adapter is used only by the name `webgpu`. */
export type DeviceChoice = 'auto' | 'cpu' | 'webgpu';

/** What runs the model. */
export interface DeviceInfo {
  kind: 'cpu' | 'webgpu';
  /** The adapter's name, or `CPU`. */
  name: string;
  /** True for an adapter that is emulated on the CPU. */
  software: boolean;
  /** Half precision in shaders. */
  f16: boolean;
  /** Subgroup operations in shaders. */
  subgroups: boolean;
}

/** One part of a prompt; parts are read in order. */
export type PromptPart =
  | string
  | { text: string }
  | { image: ImageSource }
  | { video: VideoSource }
  | { audio: AudioSource };

/** A picture: a file, turned as its EXIF says, or pixels. */
export type ImageSource = Blob | ImageBitmap | ImageData;

/** A video: a file (MP4, MOV, WebM, Matroska, or an animated GIF, WebP or PNG), or its frames. */
export type VideoSource = Blob | VideoFrames;

/** The frames of a video, all of one size. The model looks at each of them; of a file it chooses some. */
export interface VideoFrames {
  frames: ImageSource[];
  /** How many of them are a second; default: as many as the model would look at (1 in all published ones). */
  fps?: number;
}

/** A sound: a file, also a video's, in any format that the browser decodes; or samples. */
export type AudioSource = Blob | AudioBuffer | AudioSamples;

/** The samples of one channel, in -1..1. */
export interface AudioSamples {
  samples: Float32Array;
  sampleRate: number;
}

/** An earlier turn of a conversation. */
export interface Turn {
  /** What was shown and said. */
  prompt: string | PromptPart[];
  /** What the LLM answered: `answer` of that turn's {@link Painting}. */
  answer: string;
}

/** A weight file: safetensors, GGUF or a PyTorch pickle. A `File` is called by its name in messages and metadata. */
export type WeightData = Blob | ArrayBuffer | ArrayBufferView<ArrayBuffer>;

/** A LoRA of the transformer, with the names of diffusers, PEFT, kohya, BFL or x-labs. */
export interface Lora {
  data: WeightData;
  /** How much it counts; default 1. */
  scale?: number;
}

/** The form of a finished picture. */
export type Output = 'bitmap' | 'blob' | 'pixels';

/** Where the code runs, and where its files are. */
export interface RuntimeOptions {
  /** `worker` (default) keeps the page's own thread free; `main` runs here, for pages that can't have workers. */
  thread?: 'worker' | 'main';
  /** Where the worker's script is, when it is not beside this module. */
  workerUrl?: string | URL;
  /** Where `x2i_web_bg.wasm` is, when it is not beside the worker. */
  wasmUrl?: string | URL;
}

export interface PipelineOptions extends RuntimeOptions {
  model: ModelLocation;
  /** Default `auto`. */
  device?: DeviceChoice;
  /** `auto` keeps weights in OPFS (or Cache Storage); `none` reads ranges from the network alone. */
  cache?: 'auto' | 'none';
  /** Low-rank changes of the transformer, all of which count. */
  loras?: Lora[];
  /** LightControl's weights, for pictures with a `control`. */
  controlWeights?: WeightData;
  /** Hears downloads and loading; not those of a restart after a lost device. */
  onProgress?: (progress: LoadProgress) => void;
  /** Hears what went on differently than wished, such as a full disk. */
  onWarning?: (warning: Warning) => void;
  /** Stops download and loading. */
  signal?: AbortSignal;
}

/** Downloading and loading. */
export interface LoadProgress {
  phase: 'download' | 'load';
  /** The file that bytes came from (`download`). */
  file?: string;
  /** Bytes (`download`, over all files) or parts of the model (`load`) done. */
  done: number;
  total: number;
  /** Seconds left at the speed so far; absent until it can be told. */
  eta?: number;
  /** True while bytes come from the cache. */
  cached?: boolean;
}

/** Something that did not stop the work. */
export interface Warning {
  code: 'cache-unavailable' | 'lora' | 'quota' | 'unverified';
  message: string;
}

export interface GenerateOptions {
  /** Text, or parts in order. */
  prompt: string | PromptPart[];
  /** What was said before, oldest first; the LLM is shown as much of it as the model can use. */
  turns?: Turn[];
  /** A picture to begin with (img2img), resized to that of the new one. */
  init?: {
    image: ImageSource;
    /** How far to leave it: above 0 and at most 1, the share of the steps that are made; default 0.6. */
    strength?: number;
  };
  /** A picture that LightControl steers by, resized likewise; needs {@link PipelineOptions.controlWeights}. */
  control?: {
    image: ImageSource;
    /** How much it counts; default 1. */
    scale?: number;
  };
  /** Default: random, told in the result. A bigint reaches all 64 bits. */
  seed?: number | bigint;
  /** Default: the model's. */
  steps?: number;
  /** Multiples of 16; default: the model's. */
  width?: number;
  height?: number;
  guidance?: number;
  /** Whether the LLM's answer paints instead of the prompt's own tokens; default: the model's. */
  conditioning?: 'prompt' | 'answer';
  /** Frames a second of the prompt's videos that the LLM looks at; default: the model's. */
  videoFps?: number;
  /** Pictures while painting; default true. */
  preview?: boolean;
  /** The form of `result.image`; default `bitmap`. */
  output?: Output;
  /** Stops within one transformer block. */
  signal?: AbortSignal;
}

/** Painting. */
export interface StepProgress {
  phase: 'encode' | 'denoise' | 'decode';
  /** The step of `steps` that is painted or was just finished (`denoise`). */
  step: number;
  steps: number;
  /** Units of this phase: tokens, transformer blocks over all steps, parts of the decoder. */
  done: number;
  total: number;
  /** Seconds left for the whole picture; absent until it can be told. */
  eta?: number;
  /** The picture as it looks so far, after each step. */
  preview?: ImageData;
  /** What the LLM answered, as soon as it has (the last of `encode`), where its answer paints. */
  answer?: string;
}

/** A finished picture. */
export interface Painting<O extends Output = Output> {
  image: O extends 'bitmap' ? ImageBitmap : O extends 'blob' ? Blob : Uint8ClampedArray;
  width: number;
  height: number;
  /** The PNG with all that is needed to make the picture again; `x2i generate --from` reads it. */
  png: Blob;
  /** What the PNG says about its making. */
  metadata: Metadata;
  seed: bigint;
  /** What the LLM answered, where its answer painted. */
  answer?: string;
  /** Milliseconds of each phase. */
  timings: { encode: number; denoise: number; decode: number; total: number };
}

/** A running generation: its steps, and its result. Leaving the loop early does not stop it; `signal` does. */
export interface Generation<O extends Output = Output> extends AsyncIterable<StepProgress> {
  readonly result: Promise<Painting<O>>;
}

/** What a PNG says about its making, as the native program writes it. */
export interface Metadata {
  format: number;
  versions: { x2i: string; burn: string };
  model: { name: string; place: string; files: Record<string, string> };
  prompt: Array<{ text: string } | { image: UsedFile } | { video: UsedFile & { fps: number } } | { audio: UsedFile }>;
  width: number;
  height: number;
  steps: number;
  guidance: number;
  /** A bigint where a number cannot hold it. */
  seed: number | bigint;
  conditioning: 'prompt' | 'answer';
  sampler: string;
  /** `exact`: the native program was asked for more precision than is usual. */
  device: { id: string; name: string; exact?: true };
  answer?: string;
  loras?: Array<{ weights: UsedFile; scale: number }>;
  init?: { picture: UsedFile; strength: number };
  control?: { picture: UsedFile; weights: UsedFile; scale: number };
}

/** A file that had a part in a picture and itself stays where it is. */
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
  /** What it reads. */
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
  bytes: number;
}

/** A model on a device. */
export interface Pipeline {
  readonly device: DeviceInfo;
  readonly model: ModelInfo;
  /** Paints; several calls wait for each other. */
  generate<O extends Output = 'bitmap'>(options: GenerateOptions & { output?: O }): Generation<O>;
  /** Stops what runs and frees the device. */
  close(): void;
}
