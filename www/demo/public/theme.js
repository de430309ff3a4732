// Before anything is drawn: the theme that the visitor chose. The rest is src/theme.ts.
try {
  const kept = localStorage.getItem('x2i-theme');
  if (kept) document.documentElement.dataset.theme = kept;
} catch {
  // A browser that keeps nothing follows the system.
}
