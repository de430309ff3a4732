// x times the transpose of a block-quantized weight where vector units are narrow: `linear.wgsl` with
// another way to read the weight. A thread makes 4 by 4 outputs, a workgroup 64 by 64.
//
// All buffers are read_write because two of them may be slices of one. Sums have names, not indices:
// a private array with constant bounds hangs lavapipe's compiler.
//
// Parts: numbers.wgsl, weights.wgsl.

// Replaced at launch.
const NIBBLES: bool = false; // 8 quants a word, the first 16 of a group low, the last high; else 4 bytes
const ZERO: f32 = 0.0; // subtracted from a nibble
const TABLED: bool = false; // nibbles are places in TABLE
const TABLE: array<f32, 16> = array<f32, 16>();
const OFFSETS: bool = false; // a group has a scale, then an offset; else a scale
const GROUP4: u32 = 8u; // vec4 of weights that share a scale; 8 for nibbles
const EXPONENT: u32 = 0u; // bits of exponent of a float of 8 or 16 bits, whose row has a scale; 0 for a signed byte
const HALVES: bool = false; // floats of 16 bits
const ONE_ROW: bool = false; // m is 1: a thread makes 1 by 4 outputs, a workgroup 1 by 1024

const THREADS: u32 = 256u;
const SIDE: u32 = 16u; // threads along either side of a tile
const GROUP: u32 = 4u; // outputs of a thread along either side

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [m, cols4]
@group(0) @binding(1) var<storage, read_write> words: array<u32>; // [rows, quants]
@group(0) @binding(2) var<storage, read_write> scales: array<f32>; // [rows, groups, 1 | 2]
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [m, rows]
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // m, rows, cols4, row_tiles, tiles

// TABLE has to be in memory for its places to be read.
var<private> table: array<f32, 16> = TABLE;

fn write(m: u32, row: u32, sums: vec4<f32>) {
    if m >= params[0] {
        return;
    }
    let rows = params[1];
    for (var i = 0u; i < min(GROUP, rows - row); i++) {
        var sum = sums[i];
        if EXPONENT > 0u {
            sum *= scales[row + i];
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
        let tile_weights = mat4x4<f32>(weights(w0), weights(w0 + w1), weights(w0 + w2), weights(w0 + w3));
        sums0 += x[x0] * tile_weights;
        if !ONE_ROW {
            sums1 += x[x0 + x1] * tile_weights;
            sums2 += x[x0 + x2] * tile_weights;
            sums3 += x[x0 + x3] * tile_weights;
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
