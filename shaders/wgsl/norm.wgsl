// LayerNorm with a modulation, or RMSNorm with a weight: a workgroup owns a row, which it reads from
// memory once and from the cache in the passes that follow.
//
// All buffers are read_write because two of them may be slices of one. Workgroups beyond the last row
// do the last one again and write nothing: Tint refuses a barrier after an early return.
//
// Parts: stored.wgsl.

// Replaced at launch.
const MODULATED: bool = true; // LayerNorm and `· (1 + scale) + shift`, else RMSNorm and `· scale`

const THREADS: u32 = 256u;
const SIDE: u32 = 16u; // sums are added in two rounds of 16

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [rows, width]
@group(0) @binding(1) var<storage, read_write> scale: array<f32>; // [batch, width], or the weight [width]
@group(0) @binding(2) var<storage, read_write> shift: array<f32>; // [batch, width]
@group(0) @binding(3) var<storage, read_write> out: array<Element>; // [rows, width]
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // rows, width, tokens, eps

var<workgroup> sums: array<f32, THREADS>;
var<workgroup> sums_of_sums: array<f32, SIDE>;

// The sum of `value` over the workgroup.
fn total(thread: u32, value: f32) -> f32 {
    sums[thread] = value;
    workgroupBarrier();
    if thread < SIDE {
        var sum = 0.0;
        for (var i = 0u; i < SIDE; i++) {
            sum += sums[i * SIDE + thread];
        }
        sums_of_sums[thread] = sum;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < SIDE; i++) {
        sum += sums_of_sums[i];
    }
    return sum;
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let rows = params[0];
    let width = params[1];
    let tile = group.y * groups.x + group.x;
    let row = min(tile, rows - 1u);
    let start = row * width;
    var mean = 0.0;
    if MODULATED {
        var sum = 0.0;
        for (var i = thread; i < width; i += THREADS) {
            sum += x[start + i];
        }
        mean = total(thread, sum) / f32(width);
    }
    var squares = 0.0;
    for (var i = thread; i < width; i += THREADS) {
        let centred = x[start + i] - mean;
        squares += centred * centred;
    }
    let root = 1.0 / sqrt(total(thread, squares) / f32(width) + bitcast<f32>(params[3]));
    if tile >= rows {
        return;
    }
    let batch = row / params[2] * width;
    for (var i = thread; i < width; i += THREADS) {
        let normed = (x[start + i] - mean) * root;
        if MODULATED {
            out[start + i] = stored(normed * (1.0 + scale[batch + i]) + shift[batch + i]);
        } else {
            out[start + i] = stored(normed * scale[i]);
        }
    }
}
