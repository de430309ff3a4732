/** Dark or light: the system's, until the visitor chooses. */

import { byId } from './dom';

type Theme = 'dark' | 'light';
const KEY = 'x2i-theme';

function systemTheme(): Theme {
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

function chosenTheme(): Theme | undefined {
  const kept = localStorage.getItem(KEY);
  return kept === 'dark' || kept === 'light' ? kept : undefined;
}

export function startTheme(): void {
  const button = byId('theme', HTMLButtonElement);
  const apply = () => {
    const chosen = chosenTheme();
    if (chosen === undefined) delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = chosen;
    const label = (chosen ?? systemTheme()) === 'dark' ? 'Switch to light' : 'Switch to dark';
    button.setAttribute('aria-label', label);
    button.title = label;
  };
  button.addEventListener('click', () => {
    const next: Theme = (chosenTheme() ?? systemTheme()) === 'dark' ? 'light' : 'dark';
    if (next === systemTheme()) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
    apply();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
  apply();
}
