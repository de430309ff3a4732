/**
 * A model of more than 4 GiB that exists nowhere: the embedded model's parts around a FLUX of the published width,
 * whose Q8_0 weights are made up as they are asked for.
 *
 * @module
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ggufOf } from './generated/gguf.ts';
import { fluxTensors } from './generated/shapes.ts';
import { EMOJI } from './runtime.ts';
import { bytesContent, type Content, contentAt, fileContent, type Hook } from './server.ts';

/** A model: the size of its transformer, and hooks that serve its files below a path. */
export async function largeModel(): Promise<{ bytes: number; hooks(path: string): Hook[] }> {
  const config = JSON.parse(await readFile(join(EMOJI, 'model.json'), 'utf8'));
  config.name = 'large';
  config.flux.config = {
    ...config.flux.config,
    num_layers: 2,
    num_single_layers: 26,
    num_attention_heads: 24,
    attention_head_dim: 128,
    axes_dims_rope: [16, 56, 56],
  };
  delete config.files['flux.gguf'];
  const flux = ggufOf('flux', fluxTensors(config.flux.config), 'Q8_0');
  const others = ['encoder.gguf', 'align_net.gguf', 'vae.gguf', 'tokenizer.json'];
  const contents: Record<string, Content | undefined> = {
    'model.json': bytesContent(Buffer.from(JSON.stringify(config)), 'application/json'),
    'flux.gguf': flux,
  };
  for (const name of others) contents[name] = await fileContent(join(EMOJI, name));
  const hooks = (path: string): Hook[] =>
    Object.entries(contents).map(([name, content]) => contentAt(path + name, content as Content));
  return { bytes: flux.size, hooks };
}
