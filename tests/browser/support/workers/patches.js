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

// A browser without relaxed SIMD says so of every module that has it.
if (wanted.has('no-relaxed-simd')) WebAssembly.validate = () => false;

if (wanted.has('left-out')) {
  // Calls what was left out of the module, in the place of painting or of a thread's work.
  const { instantiate } = WebAssembly;
  WebAssembly.instantiate = async (...args) => {
    const instance = await instantiate.apply(WebAssembly, args);
    const exports = Object.fromEntries(Object.entries(instance.exports));
    exports[wanted.get('in') ?? 'session_generate'] = () => instance.exports.x2i_left_out(Number(wanted.get('left-out')));
    return Object.setPrototypeOf({ exports }, WebAssembly.Instance.prototype);
  };
}

if (wanted.has('wasm-memory')) {
  // Tells the bytes of wasm's memory on demand; a number is the most MiB that it may grow to.
  const most = Number(wanted.get('wasm-memory'));
  const { Memory } = WebAssembly;
  let memory;
  WebAssembly.Memory = function (size) {
    memory = new Memory(most ? { ...size, maximum: most * 16 } : size);
    return memory;
  };
  channel.onmessage = ({ data }) => {
    if (data === 'wasm-memory') channel.postMessage({ bytes: memory.buffer.byteLength });
  };
}
// A browser without Web Locks.
if (wanted.has('no-locks')) Object.defineProperty(WorkerNavigator.prototype, 'locks', { value: undefined });
// Pauses are shorter, such as the patience with a silent server.
if (wanted.has('hurry')) {
  const { setTimeout } = self;
  self.setTimeout = (task, after, ...rest) => setTimeout(task, after / 20, ...rest);
}
if (wanted.has('count-reads')) {
  const read = { matches: 0, bodies: 0, bytes: 0 };
  const match = Cache.prototype.match;
  Cache.prototype.match = function (...args) {
    read.matches++;
    return match.apply(this, args);
  };
  const { arrayBuffer } = Response.prototype;
  Response.prototype.arrayBuffer = async function () {
    const buffer = await arrayBuffer.call(this);
    read.bodies++;
    read.bytes += buffer.byteLength;
    channel.postMessage(read);
    return buffer;
  };
}
// A browser that tells how much room there is; Chromium itself always tells of 10 GiB.
if (wanted.has('free')) StorageManager.prototype.estimate = async () => ({ quota: Number(wanted.get('free')), usage: 0 });
