// x times the transpose of a block-quantized weight, for many input rows: a blocked matmul that
// expands a tile of the weight into workgroup memory. A workgroup makes 64 by 64 outputs, a thread 4
// by 4; 8 KiB of workgroup memory.
//
// All buffers are read_write because two of them may be slices of one; what bounds a loop with a
// barrier comes through workgroupUniformLoad, or Tint rejects the barrier.
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

const THREADS: u32 = 256u;
const SIDE: u32 = 16u; // threads along either side of a tile
const GROUP: u32 = 4u; // outputs of a thread along either side
const TILE: u32 = SIDE * GROUP;
const CHUNK4: u32 = 4u; // vec4 of the inner dimension staged at a time

struct Params {
    m: u32, // input rows
    rows: u32, // weight rows
    cols4: u32, // inner dimension / 4, a multiple of GROUP4
    row_tiles: u32, // tiles along the weight rows
    tiles: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [m, cols4]
@group(0) @binding(1) var<storage, read_write> words: array<u32>; // [rows, quants]
@group(0) @binding(2) var<storage, read_write> scales: array<f32>; // [rows, groups, 1 | 2]
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [m, rows]
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // the fields of Params

var<workgroup> shared_params: Params;
var<workgroup> table: array<f32, 16>; // TABLE, which has to be in memory for its places to be read
var<workgroup> x_tile: array<vec4<f32>, CHUNK4 * TILE>; // [CHUNK4, TILE]
var<workgroup> weight_tile: array<vec4<f32>, CHUNK4 * TILE>; // [CHUNK4, TILE]

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    if thread == 0u {
        if TABLED {
            table = TABLE;
        }
        shared_params = Params(params[0], params[1], params[2], params[3], params[4]);
    }
    let p = workgroupUniformLoad(&shared_params);
    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {
        return;
    }
    let first_m = tile / p.row_tiles * TILE;
    let first_row = tile % p.row_tiles * TILE;
    let tile_m = thread / SIDE * GROUP;
    let column = thread % SIDE;
    // Beyond the edges the last row is staged again; what it gives is not written.
    let staged = thread / CHUNK4;
    let staged_quad = thread % CHUNK4;
    let staged_m = min(first_m + staged, p.m - 1u);
    let staged_row = min(first_row + staged, p.rows - 1u);

    var acc: array<f32, GROUP * GROUP>;
    for (var chunk = 0u; chunk < p.cols4; chunk += CHUNK4) {
        workgroupBarrier();
        x_tile[staged_quad * TILE + staged] = x[staged_m * p.cols4 + chunk + staged_quad];
        weight_tile[staged_quad * TILE + staged] = weights(staged_row * p.cols4 + chunk + staged_quad);
        workgroupBarrier();
        for (var i = 0u; i < CHUNK4; i++) {
            var weight: array<vec4<f32>, GROUP>;
            for (var c = 0u; c < GROUP; c++) {
                weight[c] = weight_tile[i * TILE + column + c * SIDE];
            }
            for (var r = 0u; r < GROUP; r++) {
                let input = x_tile[i * TILE + tile_m + r];
                for (var c = 0u; c < GROUP; c++) {
                    acc[r * GROUP + c] += dot(input, weight[c]);
                }
            }
        }
    }
    for (var r = 0u; r < GROUP; r++) {
        for (var c = 0u; c < GROUP; c++) {
            let m = first_m + tile_m + r;
            let row = first_row + column + c * SIDE;
            if m < p.m && row < p.rows {
                var sum = acc[r * GROUP + c];
                if EXPONENT > 0u {
                    sum *= scales[row];
                }
                out[m * p.rows + row] = sum;
            }
        }
    }
}
