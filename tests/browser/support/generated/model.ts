/**
 * Whole models that exist nowhere: a Qwen2.5-VL, an AlignNet, a FLUX and a VAE of made-up weights, in the sizes of
 * published ones or smaller.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ROOT } from '../runtime.ts';
import { bytesContent, type Content, contentAt, fileContent, type Hook } from '../server.ts';
import { ggufOf } from './gguf.ts';
import { alignNetTensors, type FluxSizes, fluxTensors, type QwenSizes, qwenTensors, type VaeSizes, vaeTensors } from './shapes.ts';

/** Sizes of a model, its tokenizer and its default picture. */
export interface Sizes {
  name: string;
  flux: FluxSizes & { axes_dims_rope: number[] };
  qwen: QwenSizes;
  vae: VaeSizes & { norm_num_groups: number };
  /** A folder with `tokenizer.json`. */
  tokenizer: string;
  /** Pixels of a side. */
  side: number;
  /** The prompt's tokens, filled up to so many; none leaves it as it is. */
  padding?: number;
}

/** FLUX.1-schnell with Qwen2.5-VL-3B, as published. */
export async function publishedSizes(): Promise<Sizes> {
  const { transformer, vae } = JSON.parse(await readFile(join(ROOT, 'core/configs/flux1-schnell.json'), 'utf8'));
  return {
    name: 'generated-schnell-3b',
    flux: transformer,
    qwen: {
      vocab_size: 151_936,
      hidden_size: 2048,
      intermediate_size: 11_008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 2,
      vision_config: { depth: 32, hidden_size: 1280, intermediate_size: 3420, num_heads: 16, out_hidden_size: 2048 },
    },
    vae,
    tokenizer: join(ROOT, 'tests/goldens/_tokenizer_qwen2_5'),
    side: 256,
    padding: 512,
  };
}

/** The same with widths of an eighth: all its blocks and layers, a 64th of its bytes. */
export async function eighthSizes(): Promise<Sizes> {
  const { flux, qwen, vae } = await publishedSizes();
  const { vision_config: tower } = qwen;
  return {
    name: 'generated-eighth',
    flux: { ...flux, num_attention_heads: 3, joint_attention_dim: 512, pooled_projection_dim: 96 },
    qwen: {
      ...qwen,
      vocab_size: 728, // that of the small tokenizer
      hidden_size: 256,
      intermediate_size: 1376,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      vision_config: { ...tower, hidden_size: 160, intermediate_size: 428, num_heads: 2, out_hidden_size: 256 },
    },
    vae: { ...vae, block_out_channels: [16, 32, 64, 64], norm_num_groups: 8 },
    tokenizer: join(ROOT, 'tests/goldens/qwen2_5_vl_tiny'),
    side: 64,
  };
}

/**
 * Small but for what becomes of a prompt of 512 tokens: AlignNet's products with it have 2^32 terms and more, as the
 * published widths have.
 */
export async function longPromptSizes(): Promise<Sizes> {
  const [{ qwen: published }, sizes] = await Promise.all([publishedSizes(), eighthSizes()]);
  const { hidden_size, num_attention_heads, num_key_value_heads } = published;
  const { vision_config: tower } = sizes.qwen;
  return {
    ...sizes,
    name: 'generated-long-prompt',
    flux: { ...sizes.flux, num_layers: 1, num_single_layers: 1, joint_attention_dim: 4096 },
    qwen: {
      ...sizes.qwen, hidden_size, num_attention_heads, num_key_value_heads, num_hidden_layers: 1,
      vision_config: { ...tower, depth: 1, out_hidden_size: hidden_size },
    },
    padding: 512,
  };
}

/** A model of these sizes: its bytes, its files, and hooks that serve them below a path. */
export interface GeneratedModel {
  bytes: number;
  files: Record<string, Content>;
  hooks(path: string): Hook[];
}

/** Makes a model. Hashing a large one takes a second for each gigabyte. */
export async function generateModel(sizes: Sizes): Promise<GeneratedModel> {
  const { flux, qwen, vae } = sizes;
  const { joint_attention_dim: text, pooled_projection_dim: pooled } = flux;
  const layers = qwen.num_hidden_layers + 1;
  const files: Record<string, Content> = {
    'encoder.gguf': ggufOf('qwen2_5_vl', qwenTensors(qwen)),
    'align_net.gguf': ggufOf('align_net', alignNetTensors(layers, qwen.hidden_size, text, pooled)),
    'flux.gguf': ggufOf('flux', fluxTensors(flux)),
    'vae.gguf': ggufOf('autoencoder_kl', vaeTensors(vae)),
    'tokenizer.json': (await fileContent(join(sizes.tokenizer, 'tokenizer.json'))) as Content,
  };
  const records: Record<string, { bytes: number; sha256: string }> = {};
  for (const [path, content] of Object.entries(files)) {
    records[path] = { bytes: content.size, sha256: await sha256(content) };
  }
  const config = Buffer.from(JSON.stringify(await configOf(sizes, records), null, 2));
  const all = { ...files, 'model.json': bytesContent(config, 'application/json') };
  return {
    bytes: Object.values(all).reduce((sum, { size }) => sum + size, 0),
    files: all,
    hooks: (path) => Object.entries(all).map(([name, content]) => contentAt(path + name, content)),
  };
}

/** Writes a model's files to a folder, for the native program. */
export async function writeModel({ files }: GeneratedModel, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await pipeline(content.read(0, content.size), createWriteStream(join(folder, name)));
  }
}

async function configOf({ name, flux, qwen, vae, tokenizer, side, padding }: Sizes, files: object): Promise<object> {
  const { added_tokens: added } = JSON.parse(await readFile(join(tokenizer, 'tokenizer.json'), 'utf8'));
  const id = (token: string): number => added.find(({ content }: { content: string }) => content === token).id;
  const schnell = JSON.parse(await readFile(join(ROOT, 'core/configs/flux1-schnell.json'), 'utf8'));
  const head = qwen.hidden_size / qwen.num_attention_heads;
  return {
    format: 1,
    name,
    encoder: {
      config: {
        model_type: 'qwen2_5_vl',
        ...qwen,
        max_position_embeddings: 32_768,
        rms_norm_eps: 1e-6,
        rope_theta: 1_000_000,
        tie_word_embeddings: true,
        // As 16, 24 and 24 of a head's 64 frequencies.
        rope_scaling: { mrope_section: [head / 8, (3 * head) / 16, (3 * head) / 16] },
        image_token_id: id('<|image_pad|>'),
        video_token_id: id('<|video_pad|>'),
        vision_start_token_id: id('<|vision_start|>'),
        vision_config: { ...qwen.vision_config, tokens_per_second: 2 },
      },
      weights: ['encoder.gguf'],
      tokenizer: 'tokenizer.json',
      generation: { eos_token_id: [id('<|im_end|>')], pad_token_id: id('<|endoftext|>') },
    },
    align_net: { config: null, weights: ['align_net.gguf'] },
    flux: { config: flux, weights: ['flux.gguf'] },
    vae: { config: vae, weights: ['vae.gguf'] },
    scheduler: schnell.scheduler,
    defaults: {
      width: side,
      height: side,
      steps: 1,
      guidance: 0,
      conditioning: 'prompt',
      prompt_format: 'plain',
      max_new_tokens: 32,
      padding: padding === undefined ? null : { max_length: padding, side: 'right' },
      input_image_size: null,
      earlier_turns: 0,
      modalities: ['text', 'image', 'video'],
    },
    files,
  };
}

async function sha256(content: Content): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(content.read(0, content.size), hash);
  return hash.digest('hex');
}
