/** The npm package `openai`, unmodified. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI, { toFile } from 'openai';

const client = new OpenAI({ baseURL: `${process.env.X2I_SERVER}/v1`, apiKey: process.env.X2I_KEY, maxRetries: 0 });

/** A PNG of one colour, as the server paints it. */
async function png() {
  const answer = await client.images.generate({ prompt: 'a red apple', seed: 1 });
  return Buffer.from(answer.data[0].b64_json, 'base64');
}

const isPng = (text) => Buffer.from(text, 'base64').subarray(1, 4).toString() === 'PNG';

test('models are listed', async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, ['emoji']);
});

test('a prompt becomes images with their seeds', async () => {
  const answer = await client.images.generate({ model: 'gpt-image-1', prompt: 'a cat', n: 2, seed: 7, steps: 3 });
  assert.deepEqual(answer.data.map((data) => data.seed), [7, 8]);
  assert.ok(answer.data.every((data) => isPng(data.b64_json)));
  assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
});

test('one image or several are edited', async () => {
  const bytes = await png();
  const image = await toFile(bytes, 'apple.png', { type: 'image/png' });
  const one = await client.images.edit({ image, prompt: 'in blue', seed: 3 });
  assert.ok(isPng(one.data[0].b64_json));
  const nested = { steps: 2, turns: [{ parts: [{ text: 'a cat' }], answer: 'a cat' }] };
  const several = await client.images.edit({ image: [image, image], prompt: 'in blue', n: 2, x2i: nested });
  assert.equal(several.data.length, 2);
});

test('a stream shows partial images', async () => {
  const types = [];
  const stream = await client.images.generate({ prompt: 'a cat', steps: 4, stream: true, partial_images: 1 });
  for await (const event of stream) types.push(event.type);
  assert.deepEqual(types, ['image_generation.partial_image', 'image_generation.completed']);
});

test('what is refused is named', async () => {
  const refused = (call, param) => assert.rejects(call, (error) => error instanceof OpenAI.BadRequestError && error.param === param);
  await refused(() => client.images.generate({ prompt: 'a', background: 'transparent' }), 'background');
  await refused(() => client.images.generate({ prompt: 'a', colour: 1 }), 'colour');
});

test('a chat answers with words and a picture', async () => {
  const stream = await client.chat.completions.create({ model: 'emoji', stream: true, messages: [{ role: 'user', content: 'a fish' }] });
  let content = '';
  for await (const chunk of stream) content += chunk.choices[0]?.delta?.content ?? '';
  assert.match(content, /fish[^]*!\[image\]\(data:image\/png;base64,/);
});
