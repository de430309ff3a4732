/** The line of the README. */

export default { optimizeDeps: { exclude: ['@x2i/web', '@x2i/model-emoji'] } };
