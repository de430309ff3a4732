/**
 * What the language model made of a prompt, and whether to believe it. A prompt beyond what the embedded model knows
 * gets a confident picture of something else; the page says so, by three signs: the model's answer names what it does not
 * know, none of the words that it learned for its answer is in the prompt, or it gave its answer a low probability.
 */

import { englishOf, namedBy, type Concept } from './naming.js';

/** What the library tells of an answer. A version that does not know says nothing. */
export interface Confidence {
  /** The probability of the least certain token of the answer, 0 to 1. */
  certainty?: number;
  /** The name of what the model does not know, where its answer says so. */
  unknown?: string;
  /** What else it could have answered, the likeliest first; absent where the model knows and counts its answer as sure. */
  alternatives?: ReadonlyArray<{ answer: string; name?: string; probability: number }>;
}

/** An answer in its parts. */
export interface Scene {
  thing: string;
  background: string;
  style: string;
}

/** Why an answer is doubted, and what may have been meant instead. */
export interface Doubt {
  text: string;
  nearest: readonly string[];
}

/** For models that do not say how sure an answer has to be: below this, another one was about as likely. */
const DOUBTFUL = 0.5;
const MOST_NEAREST = 4;

/** The parts of the embedded model's answers, but for those of something unknown; other models answer in other forms. */
export function sceneOf(answer: string): Scene | undefined {
  const [, thing, background, style] = /^(?!i know no )(?:an? )?(.+) on an? (\w+) background, (\w+) style$/.exec(answer) ?? [];
  return thing && background && style ? { thing, background, style } : undefined;
}

/** `a red apple on blue, noto style`. */
export function sayScene({ thing, background, style }: Scene): string {
  return `${withArticle(thing)} on ${background}, ${style} style`;
}

/** A caption that the embedded model understands. */
export function captionOf(thing: string): string {
  return `${withArticle(thing)} on a white background`;
}

function withArticle(thing: string): string {
  return `${/^[aeiou]/.test(thing) ? 'an' : 'a'} ${thing}`;
}

/** The doubt about an answer to these words; none about one that fits them. */
export function doubt(words: string, answer: string, confidence: Confidence, concepts: readonly Concept[]): Doubt | undefined {
  const { certainty = 1, unknown, alternatives = [] } = confidence;
  const others = alternatives.map((other) => other.name ?? sceneOf(other.answer)?.thing ?? other.answer);
  if (unknown !== undefined) return { text: `I know no ${unknown}.`, nearest: others };
  const isSure = alternatives.length === 0 && certainty >= DOUBTFUL;
  const scene = sceneOf(answer);
  if (scene === undefined) return isSure ? undefined : { text: unsure(certainty), nearest: others };
  const answered = concepts.find((concept) => englishOf(concept) === scene.thing);
  const isNamed = words === '' || concepts.length === 0 || (answered !== undefined && namedBy(words, answered) > 0);
  if (isNamed && isSure) return undefined;
  const named = isNamed ? [] : nameds(words, concepts);
  const nearest = [...new Set([...named, scene.thing, ...others])].slice(0, MOST_NEAREST);
  return { text: isNamed ? unsure(certainty) : unnamed(scene.thing), nearest };
}

function unsure(certainty: number): string {
  return `I am not sure: the model gave this answer ${Math.round(certainty * 100)} of 100.`;
}

function unnamed(thing: string): string {
  return `I am not sure I know that. No word that I learned for “${thing}” is in your prompt, so this is a guess.`;
}

/** The things that a prompt does name, the best named first. */
function nameds(words: string, concepts: readonly Concept[]): string[] {
  const scores = concepts.map((concept) => ({ thing: englishOf(concept), score: namedBy(words, concept) }));
  return scores.filter(({ score }) => score >= 0.5).sort((a, b) => b.score - a.score).map(({ thing }) => thing);
}
