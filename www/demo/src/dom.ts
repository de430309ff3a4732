/**
 * The little that is needed of the document: elements by id with their type, elements made in one expression.
 * Text goes in as text only; nothing here parses HTML.
 */

type Attributes = Record<string, string | number | boolean | undefined>;

/** The element of this id, which `index.html` promises. */
export function byId<T extends Element>(id: string, kind: abstract new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return found;
}

/** An element with attributes (`class`, `lang`, ...) and children. `true` writes an empty attribute, `false` none. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Array<Node | string>
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? '' : String(value));
  }
  made.append(...children);
  return made;
}

/** Changes a text; the same text again costs no layout. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A drawing from the sprite at the end of `index.html`. */
export function icon(name: string): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(space, 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button that shows a drawing and says `label`. */
export function iconButton(name: string, label: string, attributes: Attributes = {}): HTMLButtonElement {
  return make('button', { type: 'button', class: 'quiet icon-only', 'aria-label': label, title: label, ...attributes }, icon(name));
}
