// One literal `new URL` a file: that is what bundlers look for. `build.js` checks that none is forgotten.

/** @type {import('./index.js').default} */
const model = {
  name: 'emoji',
  files: {
    'model.json': new URL('./files/model.json', import.meta.url),
    'tokenizer.json': new URL('./files/tokenizer.json', import.meta.url),
    'encoder.gguf': new URL('./files/encoder.gguf', import.meta.url),
    'align_net.gguf': new URL('./files/align_net.gguf', import.meta.url),
    'flux.gguf': new URL('./files/flux.gguf', import.meta.url),
    'vae.gguf': new URL('./files/vae.gguf', import.meta.url),
  },
};

// The development servers of Vite 5 to 7 move this module to `node_modules/.vite/deps/` and leave the files where they are.
const moved = /^(.*\/node_modules\/)\.vite\/deps[^/]*\/[^/]*$/.exec(import.meta.url.replace(/[?#].*$/, ''));
for (const [name, url] of Object.entries(model.files)) {
  const left = moved && url.pathname.endsWith(`/files/${name}`);
  if (left) model.files[name] = new URL(`${moved[1]}@x2i/model-emoji/files/${name}`);
}

export default model;
