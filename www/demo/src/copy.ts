/** To the clipboard: words, and pictures. A browser that refuses is told of. */

import { announce } from './live';
import { inform } from './notice';

export async function copyText(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    done(what);
  } catch {
    inform(`This browser does not let the page copy ${what.toLowerCase()}.`, text);
  }
}

export async function copyPicture(png: Blob): Promise<void> {
  try {
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': png })]);
    done('The picture');
  } catch {
    inform('This browser does not let the page copy pictures.', 'Download it instead.');
  }
}

function done(what: string): void {
  announce(`${what} was copied`);
  inform(`${what} was copied.`);
}
