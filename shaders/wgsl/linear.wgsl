// x times the transpose of a weight, plus a bias, where vector units are narrow: a software adapter,
// or a GPU that keeps workgroup memory in its cache. There a barrier and a copy cost more than reading
// through the cache: a thread makes 4 by 4 outputs from registers alone, a workgroup 64 by 64.
//
// All buffers are read_write because two of them may be slices of one. Sums have names, not indices:
// a private array with constant bounds hangs lavapipe's compiler.

// Replaced at launch.
const BIASED: bool = true;
const ONE_ROW: bool = false; // m is 1: a thread makes 1 by 4 outputs, a workgroup 1 by 1024

const THREADS: u32 = 256u;
const SIDE: u32 = 16u; // threads along either side of a tile
const GROUP: u32 = 4u; // outputs of a thread along either side

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [m, cols4]
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<f32>>; // [rows, cols4]
@group(0) @binding(2) var<storage, read_write> bias: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [m, rows]
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // m, rows, cols4, row_tiles, tiles

fn write(m: u32, row: u32, sums: vec4<f32>) {
    if m >= params[0] {
        return;
    }
    let rows = params[1];
    for (var i = 0u; i < min(GROUP, rows - row); i++) {
        var sum = sums[i];
        if BIASED {
            sum += bias[row + i];
        }
        out[m * rows + row + i] = sum;
    }
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let last_m = params[0] - 1u;
    let last_row = params[1] - 1u;
    let cols4 = params[2];
    let row_tiles = params[3];
    let tile = group.y * groups.x + group.x;
    var row = (tile % row_tiles * SIDE + thread % SIDE) * GROUP;
    var m = (tile / row_tiles * SIDE + thread / SIDE) * GROUP;
    if ONE_ROW {
        row = (tile * THREADS + thread) * GROUP;
        m = 0u;
    }
    if tile >= params[4] || m > last_m || row > last_row {
        return;
    }
    // Beyond the edges the last row is read again; what it gives is not written.
    var x0 = m * cols4;
    let x1 = min(m + 1u, last_m) * cols4 - x0;
    let x2 = min(m + 2u, last_m) * cols4 - x0;
    let x3 = min(m + 3u, last_m) * cols4 - x0;
    var w0 = row * cols4;
    let w1 = min(row + 1u, last_row) * cols4 - w0;
    let w2 = min(row + 2u, last_row) * cols4 - w0;
    let w3 = min(row + 3u, last_row) * cols4 - w0;

    var sums0 = vec4<f32>();
    var sums1 = vec4<f32>();
    var sums2 = vec4<f32>();
    var sums3 = vec4<f32>();
    for (var i = 0u; i < cols4; i++) {
        let weights = mat4x4<f32>(weight[w0], weight[w0 + w1], weight[w0 + w2], weight[w0 + w3]);
        sums0 += x[x0] * weights;
        if !ONE_ROW {
            sums1 += x[x0 + x1] * weights;
            sums2 += x[x0 + x2] * weights;
            sums3 += x[x0 + x3] * weights;
        }
        x0++;
        w0++;
    }
    write(m, row, sums0);
    if !ONE_ROW {
        write(m + 1u, row, sums1);
        write(m + 2u, row, sums2);
        write(m + 3u, row, sums3);
    }
}
