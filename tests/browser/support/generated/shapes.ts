/**
 * The names and shapes of models' tensors: BFL's for FLUX and its VAE, Hugging Face's for Qwen2.5-VL.
 *
 * @module
 */

import type { Tensor } from './numbers.ts';

export interface FluxSizes {
  in_channels: number;
  num_layers: number;
  num_single_layers: number;
  attention_head_dim: number;
  num_attention_heads: number;
  joint_attention_dim: number;
  pooled_projection_dim: number;
}

export interface QwenSizes {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  vision_config: {
    depth: number;
    hidden_size: number;
    intermediate_size: number;
    num_heads: number;
    out_hidden_size: number;
  };
}

export interface VaeSizes {
  block_out_channels: number[];
  latent_channels: number;
  layers_per_block: number;
}

/** FLUX's transformer. */
export function fluxTensors(sizes: FluxSizes): Tensor[] {
  const { in_channels: channels, attention_head_dim: head } = sizes;
  const width = head * sizes.num_attention_heads;
  const scales = (name: string): Tensor[] =>
    ['query_norm', 'key_norm'].map((norm) => ({ name: `${name}.${norm}.scale`, shape: [head] }));
  const embedder = (name: string, input: number): Tensor[] => [
    ...linear(`${name}.in_layer`, input, width),
    ...linear(`${name}.out_layer`, width, width),
  ];
  const stream = (block: string, name: string): Tensor[] => [
    ...linear(`${block}.${name}_mod.lin`, width, 6 * width),
    ...linear(`${block}.${name}_attn.qkv`, width, 3 * width),
    ...scales(`${block}.${name}_attn.norm`),
    ...linear(`${block}.${name}_attn.proj`, width, width),
    ...linear(`${block}.${name}_mlp.0`, width, 4 * width),
    ...linear(`${block}.${name}_mlp.2`, 4 * width, width),
  ];
  const double = (index: number): Tensor[] => ['img', 'txt'].flatMap((name) => stream(`double_blocks.${index}`, name));
  const single = (index: number): Tensor[] => [
    ...linear(`single_blocks.${index}.modulation.lin`, width, 3 * width),
    ...linear(`single_blocks.${index}.linear1`, width, 7 * width),
    ...linear(`single_blocks.${index}.linear2`, 5 * width, width),
    ...scales(`single_blocks.${index}.norm`),
  ];
  return [
    ...linear('img_in', channels, width),
    ...linear('txt_in', sizes.joint_attention_dim, width),
    ...embedder('time_in', 256),
    ...embedder('vector_in', sizes.pooled_projection_dim),
    ...times(sizes.num_layers, double),
    ...times(sizes.num_single_layers, single),
    ...linear('final_layer.linear', width, channels),
    ...linear('final_layer.adaLN_modulation.1', width, 2 * width),
  ];
}

/** Qwen2.5-VL with a tied head, its vision tower included. */
export function qwenTensors(sizes: QwenSizes): Tensor[] {
  const { hidden_size: width, intermediate_size: inner } = sizes;
  const keys = (width / sizes.num_attention_heads) * sizes.num_key_value_heads;
  const layer = (index: number): Tensor[] => {
    const at = `model.layers.${index}`;
    return [
      vector(`${at}.input_layernorm.weight`, width),
      ...linear(`${at}.self_attn.q_proj`, width, width),
      ...linear(`${at}.self_attn.k_proj`, width, keys),
      ...linear(`${at}.self_attn.v_proj`, width, keys),
      matrix(`${at}.self_attn.o_proj`, width, width),
      vector(`${at}.post_attention_layernorm.weight`, width),
      matrix(`${at}.mlp.gate_proj`, width, inner),
      matrix(`${at}.mlp.up_proj`, width, inner),
      matrix(`${at}.mlp.down_proj`, inner, width),
    ];
  };
  return [
    matrix('model.embed_tokens', width, sizes.vocab_size),
    ...times(sizes.num_hidden_layers, layer),
    vector('model.norm.weight', width),
    ...towerTensors(sizes.vision_config),
  ];
}

function towerTensors({ depth, hidden_size: width, intermediate_size: inner, out_hidden_size: out }: QwenSizes['vision_config']): Tensor[] {
  const block = (index: number): Tensor[] => {
    const at = `visual.blocks.${index}`;
    return [
      vector(`${at}.norm1.weight`, width),
      ...linear(`${at}.attn.qkv`, width, 3 * width),
      ...linear(`${at}.attn.proj`, width, width),
      vector(`${at}.norm2.weight`, width),
      ...linear(`${at}.mlp.gate_proj`, width, inner),
      ...linear(`${at}.mlp.up_proj`, width, inner),
      ...linear(`${at}.mlp.down_proj`, inner, width),
    ];
  };
  return [
    // Three colours, two frames, 14x14 pixels.
    matrix('visual.patch_embed.proj', 3 * 2 * 14 * 14, width),
    ...times(depth, block),
    vector('visual.merger.ln_q.weight', width),
    ...linear('visual.merger.mlp.0', 4 * width, 4 * width),
    ...linear('visual.merger.mlp.2', 4 * width, out),
  ];
}

/** AlignNet with a convolution over the layers. */
export function alignNetTensors(layers: number, width: number, text: number, pooled: number): Tensor[] {
  return [
    { name: 'conv.weight', shape: [1, layers, 5, 5] },
    vector('conv.bias', 1),
    vector('mlp.layernorm.weight', width),
    vector('mlp.layernorm.bias', width),
    matrix('mlp.projector.0', width, text),
    matrix('mlp.projector.2', text, text),
    ...linear('mlp.fc.1', text, pooled),
  ];
}

/** Both halves of the VAE. */
export function vaeTensors({ block_out_channels: levels, latent_channels: latents, layers_per_block: layers }: VaeSizes): Tensor[] {
  const last = levels.length - 1;
  const at = (level: number): number => levels[level] as number;
  const resnet = (name: string, input: number, output: number): Tensor[] => [
    ...norm(`${name}.norm1`, input),
    ...conv(`${name}.conv1`, input, output, 3),
    ...norm(`${name}.norm2`, output),
    ...conv(`${name}.conv2`, output, output, 3),
    ...(input === output ? [] : conv(`${name}.nin_shortcut`, input, output, 1)),
  ];
  const middle = (half: string): Tensor[] => [
    ...resnet(`${half}.mid.block_1`, at(last), at(last)),
    ...norm(`${half}.mid.attn_1.norm`, at(last)),
    ...['q', 'k', 'v', 'proj_out'].flatMap((name) => linear(`${half}.mid.attn_1.${name}`, at(last), at(last))),
    ...resnet(`${half}.mid.block_2`, at(last), at(last)),
  ];
  const level = (name: string, count: number, input: number, output: number): Tensor[] =>
    times(count, (index) => resnet(`${name}.block.${index}`, index === 0 ? input : output, output));
  const down = (index: number): Tensor[] => [
    ...level(`encoder.down.${index}`, layers, at(Math.max(0, index - 1)), at(index)),
    ...(index < last ? conv(`encoder.down.${index}.downsample.conv`, at(index), at(index), 3) : []),
  ];
  const up = (index: number): Tensor[] => [
    ...level(`decoder.up.${index}`, layers + 1, at(Math.min(last, index + 1)), at(index)),
    ...(index > 0 ? conv(`decoder.up.${index}.upsample.conv`, at(index), at(index), 3) : []),
  ];
  return [
    ...conv('encoder.conv_in', 3, at(0), 3),
    ...times(levels.length, down),
    ...middle('encoder'),
    ...norm('encoder.norm_out', at(last)),
    ...conv('encoder.conv_out', at(last), 2 * latents, 3),
    ...conv('decoder.conv_in', latents, at(last), 3),
    ...middle('decoder'),
    ...times(levels.length, up),
    ...norm('decoder.norm_out', at(0)),
    ...conv('decoder.conv_out', at(0), 3, 3),
  ];
}

function times(count: number, of: (index: number) => Tensor[]): Tensor[] {
  return Array.from({ length: count }, (_, index) => of(index)).flat();
}

function vector(name: string, length: number): Tensor {
  return { name, shape: [length] };
}

function matrix(name: string, input: number, output: number): Tensor {
  return { name: `${name}.weight`, shape: [output, input] };
}

function linear(name: string, input: number, output: number): Tensor[] {
  return [matrix(name, input, output), vector(`${name}.bias`, output)];
}

function norm(name: string, channels: number): Tensor[] {
  return [vector(`${name}.weight`, channels), vector(`${name}.bias`, channels)];
}

function conv(name: string, input: number, output: number, kernel: number): Tensor[] {
  return [{ name: `${name}.weight`, shape: [output, input, kernel, kernel] }, vector(`${name}.bias`, output)];
}
