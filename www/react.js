// For tools that read no `exports`.
export * from './dist/react.js';
