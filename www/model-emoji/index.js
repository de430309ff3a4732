// One literal `new URL` a file: that is what bundlers look for. `build.js` checks that none is forgotten.

/** @type {import('./index.js').default} */
const files = {
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

export default files;
