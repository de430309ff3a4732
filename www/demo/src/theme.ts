/** Dark or light: the system's, until the visitor chooses. */

import { byId } from './dom';

type Theme = 'dark' | 'light';
const KEY = 'x2i-theme';

function systemTheme(): Theme {
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

/** The choice; `public/theme.js` has put a kept one into the page before it was drawn. */
function chosenTheme(): Theme | undefined {
  const chosen = document.documentElement.dataset['theme'];
  return chosen === 'dark' || chosen === 'light' ? chosen : undefined;
}

function choose(next: Theme): void {
  const system = next === systemTheme();
  if (system) delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = next;
  try {
    if (system) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // A browser that keeps nothing has the choice for this visit.
  }
}

export function startTheme(): void {
  const button = byId('theme', HTMLButtonElement);
  const apply = () => {
    const label = (chosenTheme() ?? systemTheme()) === 'dark' ? 'Switch to light' : 'Switch to dark';
    button.setAttribute('aria-label', label);
    button.title = label;
  };
  button.addEventListener('click', () => {
    choose((chosenTheme() ?? systemTheme()) === 'dark' ? 'light' : 'dark');
    apply();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
  apply();
}
