/** When the page doubts an answer: by the words of the prompt, and by what the model itself says of its certainty. */

import { readFileSync } from 'node:fs';
import { doubt } from '../../www/demo/src/understood.ts';
import { expect, test } from './support/browser.ts';

const CONCEPTS: string[][] = JSON.parse(readFileSync(new URL('../../www/demo/src/words.json', import.meta.url), 'utf8'));
const answerOf = (thing: string) => `${thing} on a white background, noto style`;

const KNOWN: ReadonlyArray<readonly [words: string, thing: string]> = [
  ['a red apple on a blue background', 'red apple'],
  ['an apple', 'red apple'],
  ['two cats', 'cat'],
  ['eine rote Rakete', 'rocket'],
  ['einen Kaktus bitte', 'cactus'],
  ['蓝色背景上的红苹果', 'red apple'],
  ['ピンクの背景にサボテン', 'cactus'],
  ['красным яблоком', 'red apple'],
  ['клубнику', 'strawberry'],
  ['pinguino', 'penguin'],
  ['cây xương rồng trên nền hồng', 'cactus'],
];

for (const [words, thing] of KNOWN) {
  test(`“${words}” names a ${thing}`, () => {
    expect(doubt(words, answerOf(thing), {}, CONCEPTS)).toBeUndefined();
  });
}

test('words that name nothing are doubted', () => {
  for (const words of ['wibble', 'the meaning of life', '意味', 'Angela Merkel']) {
    const found = doubt(words, answerOf('flying saucer'), {}, CONCEPTS);
    expect(found?.text, words).toContain('No word that I learned for “flying saucer”');
    expect(found?.nearest, words).toEqual(['flying saucer']);
  }
});

test('a colour alone names no thing', () => {
  for (const words of ['a red wibble', 'ein roter Wibel', 'un wibel rouge']) expect(doubt(words, answerOf('red apple'), {}, CONCEPTS), words).toBeDefined();
});

test('a small word names no thing', () => {
  expect(doubt('a picture of the queen', answerOf('ear of corn'), {}, CONCEPTS)).toBeDefined();
  expect(doubt('la tour de Pise', answerOf('cat face'), {}, CONCEPTS)).toBeDefined();
  expect(doubt('corn', answerOf('ear of corn'), {}, CONCEPTS)).toBeUndefined();
});

test('every label of every thing names it', () => {
  for (const concept of CONCEPTS) {
    for (const label of concept) expect(doubt(label, answerOf((concept[0] as string).toLowerCase()), {}, CONCEPTS), label).toBeUndefined();
  }
});

test('a thing that was named and not understood is the nearest', () => {
  expect(doubt('ein Schloss', answerOf('house'), {}, CONCEPTS)?.nearest).toEqual(['castle', 'house']);
});

test('an answer that the model itself counts as unsure is doubted, with the others', () => {
  const alternatives = [{ answer: answerOf('dog face'), probability: 0.3 }];
  const found = doubt('a dog', answerOf('dog'), { certainty: 0.65, alternatives }, CONCEPTS);
  expect(found).toEqual({ text: 'I am not sure: the model gave this answer 65 of 100.', nearest: ['dog', 'dog face'] });
  expect(doubt('a dog', answerOf('dog'), { certainty: 0.65 }, CONCEPTS)).toBeUndefined();
});

test('an answer that names what the model does not know says so, with the nearest that it knows', () => {
  const nearest = (thing: string) => ({ answer: answerOf(thing), name: thing, probability: 0.3 });
  const confidence = { certainty: 0.97, unknown: 'Schloss', alternatives: ['house', 'church'].map(nearest) };
  const found = doubt('ein Schloss', 'i know no Schloss on a white background, noto style', confidence, CONCEPTS);
  expect(found).toEqual({ text: 'I know no Schloss.', nearest: ['house', 'church'] });
  // A version of the library that can't tell shows the answer as it is.
  expect(doubt('ein Schloss', 'i know no Schloss on a white background, noto style', {}, CONCEPTS)).toBeUndefined();
});

test('a sure answer to a word that was never learned is doubted', () => {
  for (const [words, thing] of [['microscope', 'beer mug'], ['un notaire', 'droplet'], ['máy giặt', 'airplane'], ['justice', 'bus'], ['cabra', 'zebra']] as const) {
    expect(doubt(words, answerOf(thing), { certainty: 0.999 }, CONCEPTS), words).toBeDefined();
  }
});

test('a picture without words is doubted by certainty alone', () => {
  expect(doubt('', answerOf('dog'), {}, CONCEPTS)).toBeUndefined();
  expect(doubt('', answerOf('dog'), { certainty: 0.2 }, CONCEPTS)?.nearest).toEqual(['dog']);
});

test('another model’s answer is doubted by certainty alone', () => {
  expect(doubt('a dog', 'A photograph of a dog.', {}, CONCEPTS)).toBeUndefined();
  expect(doubt('a dog', 'A photograph of a dog.', { certainty: 0.1 }, [])?.text).toContain('10 of 100');
});
