/** A question that stands before something that can't be taken back. */

import { byId } from './dom';

/** Asks; true for yes. */
export function confirm(question: string, yes: string, no: string): Promise<boolean> {
  const dialog = byId('confirm', HTMLDialogElement);
  byId('confirm-text', HTMLParagraphElement).textContent = question;
  byId('confirm-yes', HTMLButtonElement).textContent = yes;
  byId('confirm-no', HTMLButtonElement).textContent = no;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
