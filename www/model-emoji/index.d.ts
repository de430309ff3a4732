/** The model's name in the cache, and where its files are. */
declare const files: { name: string; files: Record<string, URL> };
export default files;
