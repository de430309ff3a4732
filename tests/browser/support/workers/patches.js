// Ways in which a browser can be poorer or worse than ours, by the worker's own query.
const wanted = new URL(self.location.href).searchParams;
const channel = new BroadcastChannel('x2i-test');

if (wanted.has('gpu-buffers')) {
  // Counts the device's living buffers and their bytes, and destroys the device on demand.
  let device;
  // Held weakly: wgpu leaves buffers that it dropped to the garbage collector.
  const made = new Set();
  const requestDevice = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    device = await requestDevice.apply(this, args);
    return device;
  };
  const createBuffer = GPUDevice.prototype.createBuffer;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    made.add({ buffer: new WeakRef(buffer), size: descriptor.size });
    return buffer;
  };
  const destroy = GPUBuffer.prototype.destroy;
  GPUBuffer.prototype.destroy = function () {
    for (const entry of made) if (entry.buffer.deref() === this) made.delete(entry);
    return destroy.call(this);
  };
  channel.onmessage = ({ data }) => {
    if (data === 'destroy') device.destroy();
    if (data === 'fill') {
      const error = new GPUOutOfMemoryError('no memory is left for a buffer');
      device.dispatchEvent(new GPUUncapturedErrorEvent('uncapturederror', { error }));
    }
    if (data === 'count') {
      self.gc();
      // Weak references are cleared between tasks.
      setTimeout(() => {
        const alive = [...made].filter(({ buffer }) => buffer.deref());
        channel.postMessage({ buffers: alive.length, bytes: alive.reduce((sum, { size }) => sum + size, 0) });
      }, 100);
    }
  };
}

if (wanted.has('small-limits')) {
  const limits = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, 'limits').get;
  Object.defineProperty(GPUAdapter.prototype, 'limits', {
    get() {
      const real = limits.call(this);
      return new Proxy(real, {
        get: (target, name) =>
          name === wanted.get('small-limits') ? Number(wanted.get('value')) : Reflect.get(target, name, target),
      });
    },
  });
}

if (wanted.has('wide-units')) {
  for (const size of ['subgroupMinSize', 'subgroupMaxSize']) {
    Object.defineProperty(GPUAdapterInfo.prototype, size, { get: () => 32 });
  }
}

if (wanted.has('no-opfs')) delete self.FileSystemSyncAccessHandle;
if (wanted.has('no-cache')) {
  delete self.FileSystemSyncAccessHandle;
  Object.defineProperty(self, 'caches', { value: undefined });
}

if (wanted.has('wasm-memory')) {
  // Tells the bytes of wasm's memory on demand; a number is the most MiB that it may grow to.
  let memory;
  const most = Number(wanted.get('wasm-memory'));
  WebAssembly.instantiateStreaming = async (response, imports) => {
    const bytes = new Uint8Array(await (await response).arrayBuffer());
    const made = await WebAssembly.instantiate(most ? withMaximum(bytes, most * 16) : bytes, imports);
    memory = made.instance.exports.memory;
    return made;
  };
  channel.onmessage = ({ data }) => {
    if (data === 'wasm-memory') channel.postMessage({ bytes: memory.buffer.byteLength });
  };
}

/** A module whose memory may have so many pages. */
function withMaximum(bytes, pages) {
  const MEMORY = 5;
  for (let at = 8; at < bytes.length; ) {
    const [length, body] = leb(bytes, at + 1);
    if (bytes[at] === MEMORY) {
      const [least] = leb(bytes, body + 2); // after the count and the flags
      const section = [1, 1, ...lebOf(least), ...lebOf(pages)];
      const head = [MEMORY, ...lebOf(section.length), ...section];
      const rest = bytes.subarray(body + length);
      const changed = new Uint8Array(at + head.length + rest.length);
      changed.set(bytes.subarray(0, at));
      changed.set(head, at);
      changed.set(rest, at + head.length);
      return changed;
    }
    at = body + length;
  }
  throw new Error('the module has no memory');
}

/** An unsigned number in LEB128, and where it ends. */
function leb(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return [value, at];
  }
}

function lebOf(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...lebOf(value >>> 7)];
}
