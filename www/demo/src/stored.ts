/** The models in the library's cache: how large each is, and a button that deletes it. */

import { cachedModels, deleteCachedModel, type CachedModel } from '@x2i/web';
import { byId, iconButton, make } from './dom';
import { explain } from './errors';
import { bytes } from './format';
import { announce } from './live';
import { inform, tell } from './notice';

const list = byId('stored', HTMLUListElement);

async function remove(model: CachedModel): Promise<void> {
  try {
    await deleteCachedModel(model.name);
    inform(`“${model.name}” was deleted from this device.`, 'It goes on working until the page is closed; the next visit would download it again.');
    announce(`${model.name} deleted`);
  } catch (error) {
    tell(explain(error));
  }
  await refresh();
  (list.querySelector('button') ?? byId('stored-title', HTMLElement)).focus();
}

function row(model: CachedModel): HTMLLIElement {
  const trash = iconButton('delete', `Delete the model ${model.name} from this device`);
  trash.addEventListener('click', () => void remove(model));
  return make('li', {}, make('span', {}, model.name), make('span', { class: 'small' }, bytes(model.bytes)), trash);
}

async function refresh(): Promise<void> {
  const models = await cachedModels().catch(() => []);
  list.replaceChildren(...(models.length > 0 ? models.map(row) : [make('li', { class: 'small' }, 'No model yet.')]));
}

/** Asks when it is looked at: an answer starts a worker, which should not compete with the first picture. */
export function startStored(): void {
  const details = byId('stored-models', HTMLDetailsElement);
  details.addEventListener('toggle', () => details.open && void refresh());
}
