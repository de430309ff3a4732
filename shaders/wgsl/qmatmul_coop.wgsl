// x times the transpose of a block-quantized weight on cooperative matrices: tensor cores, or what a driver has
// for them. Inputs and weights are f16, sums f32. A workgroup of eight subgroups, two down and four across,
// expands a tile of either side into workgroup memory; a subgroup makes DOWN by ACROSS matrices of outputs.
// While the matrices of a chunk are multiplied, the next chunk is on its way to registers.
//
// naga loads a matrix column by column with coopLoad, row by row with coopLoadT. All buffers are read_write
// because two of them may be slices of one.

enable f16;
enable wgpu_cooperative_matrix;

// Replaced at launch.
const NIBBLES: bool = false; // 8 quants a word, the first 16 of a group low, the last high; else 4 bytes
const ZERO: f32 = 0.0; // subtracted from a nibble
const TABLED: bool = false; // nibbles are places in TABLE
const TABLE: array<f32, 16> = array<f32, 16>();
const OFFSETS: bool = false; // a group has a scale, then an offset; else a scale
const GROUP4: u32 = 8u; // vec4 of weights that share a scale; 8 for nibbles
const EXPONENT: u32 = 0u; // bits of exponent of a float of 8 or 16 bits, whose row has a scale; 0 for a signed byte
const HALVES: bool = false; // floats of 16 bits
const BIASED: bool = false;
const LANES: u32 = 32u; // of a subgroup, of which all have the same number
const SIDE: u32 = 16u; // of a matrix
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
const DOWN: u32 = 4u; // matrices of a subgroup along the input rows

const ACROSS: u32 = 2u; // matrices of a subgroup along the weight rows
const SUBGROUPS_DOWN: u32 = 2u;
const SUBGROUPS_ACROSS: u32 = 4u;
const SUBGROUPS: u32 = SUBGROUPS_DOWN * SUBGROUPS_ACROSS;
const THREADS: u32 = SUBGROUPS * LANES;
const M_TILE: u32 = SUBGROUPS_DOWN * DOWN * SIDE;
const ROW_TILE: u32 = SUBGROUPS_ACROSS * ACROSS * SIDE;
const CHUNK: u32 = 32u; // of the inner dimension, of which it is a multiple
const CHUNK4: u32 = CHUNK / 4u;
const STRIDE: u32 = CHUNK + 8u; // apart from banks
const X_QUADS: u32 = M_TILE * CHUNK4 / THREADS; // of a thread
const WEIGHT_QUADS: u32 = ROW_TILE * CHUNK4 / THREADS;

struct Params {
    m: u32, // input rows
    rows: u32, // weight rows
    cols4: u32, // inner dimension / 4
    row_tiles: u32, // tiles along the weight rows
    tiles: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f16>>; // [m, cols4]
@group(0) @binding(1) var<storage, read_write> x_scales: array<f32>; // [m]
@group(0) @binding(2) var<storage, read_write> words: array<u32>; // [rows, quants]
@group(0) @binding(3) var<storage, read_write> scales: array<f32>; // [rows, groups, 1 | 2]
@group(0) @binding(4) var<storage, read_write> bias: array<f32>; // [rows], where BIASED
@group(0) @binding(5) var<storage, read_write> out: array<f32>; // [m, rows]
@group(0) @binding(6) var<storage, read_write> params: array<u32>; // the fields of Params

var<workgroup> shared_params: Params;
var<workgroup> table: array<f32, 16>; // TABLE, which has to be in memory for its places to be read
var<workgroup> x_tile: array<f16, M_TILE * STRIDE>; // [M_TILE, STRIDE]
var<workgroup> weight_tile: array<f16, ROW_TILE * STRIDE>; // [ROW_TILE, STRIDE]
var<workgroup> finished: array<f32, SUBGROUPS * SIDE * SIDE>; // a matrix of each subgroup

// Four floats of 8 bits. Those below the smallest exponent are made by a subtraction: an adapter may take an
// f32 that is as small for zero.
fn floats(word: u32) -> vec4<f32> {
    let bytes = vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
    let magnitude = bytes & vec4<u32>(127u);
    let mantissa = magnitude << vec4<u32>(16u + EXPONENT);
    let least = (128u - (1u << EXPONENT) / 2u) << 23u; // the difference of the biases
    let step = 1u << 23u;
    let small = bitcast<vec4<f32>>(mantissa + vec4<u32>(least + step)) - vec4<f32>(bitcast<f32>(least + step));
    var values = bitcast<vec4<u32>>(small);
    values = select(values, mantissa + vec4<u32>(least), magnitude >= vec4<u32>(1u << (7u - EXPONENT % 8u)));
    // With 4 bits of exponent the largest number alone is none, with 5 all of the largest exponent.
    let most = 127u - EXPONENT / 5u * 3u;
    values = select(values, mantissa | vec4<u32>(255u << 23u), magnitude >= vec4<u32>(most));
    return bitcast<vec4<f32>>(values | ((bytes & vec4<u32>(128u)) << vec4<u32>(24u)));
}

// Four floats of 16 bits: the upper half of an f32, or with 5 bits of exponent f16, whose smallest numbers are made
// as those of 8 bits are.
fn halves(first: u32, second: u32) -> vec4<f32> {
    let bits = vec4<u32>(first << 16u, first & 0xffff0000u, second << 16u, second & 0xffff0000u);
    if EXPONENT == 8u {
        return bitcast<vec4<f32>>(bits);
    }
    let magnitude = (bits & vec4<u32>(0x7fff0000u)) >> vec4<u32>(3u);
    let least = 112u << 23u; // the difference of the biases
    let step = 1u << 23u;
    let small = bitcast<vec4<f32>>(magnitude + vec4<u32>(least + step)) - vec4<f32>(bitcast<f32>(least + step));
    var values = bitcast<vec4<u32>>(small);
    values = select(values, magnitude + vec4<u32>(least), magnitude >= vec4<u32>(step));
    values = select(values, magnitude | vec4<u32>(255u << 23u), magnitude >= vec4<u32>(31u * step));
    return bitcast<vec4<f32>>(values | (bits & vec4<u32>(0x80000000u)));
}

// The numbers that nibbles stand for.
fn numbers(nibbles: vec4<u32>) -> vec4<f32> {
    if TABLED {
        return vec4<f32>(table[nibbles.x], table[nibbles.y], table[nibbles.z], table[nibbles.w]);
    }
    return vec4<f32>(nibbles) - ZERO;
}

// Four weights; `quad` counts vec4 from the first row on.
fn weights(quad: u32) -> vec4<f32> {
    let group = quad / GROUP4;
    var values: vec4<f32>;
    if NIBBLES {
        let part = quad % GROUP4;
        let word = vec4<u32>(words[group * 4u + part % 4u]);
        let nibbles = (word >> (vec4<u32>(0u, 8u, 16u, 24u) + part / 4u * 4u)) & vec4<u32>(15u);
        values = numbers(nibbles);
    } else if HALVES {
        return halves(words[2u * quad], words[2u * quad + 1u]);
    } else if EXPONENT > 0u {
        return floats(words[quad]);
    } else {
        let word = vec4<i32>(bitcast<i32>(words[quad]));
        values = vec4<f32>((word << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
    }
    if OFFSETS {
        return values * scales[2u * group] + scales[2u * group + 1u];
    }
    return values * scales[group];
}

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
    let first_m = tile / p.row_tiles * M_TILE;
    let first_row = tile % p.row_tiles * ROW_TILE;
    let subgroup = thread / LANES;
    let sub_m = subgroup / SUBGROUPS_ACROSS * DOWN * SIDE;
    let sub_row = subgroup % SUBGROUPS_ACROSS * ACROSS * SIDE;

    // Beyond the edges the last row is staged again; what it gives is not written.
    let column = thread % CHUNK4;
    let staged = thread / CHUNK4;
    var next_x: array<vec4<f16>, X_QUADS>;
    var next_weights: array<vec4<f16>, WEIGHT_QUADS>;
    for (var i = 0u; i < X_QUADS; i++) {
        let m = min(first_m + staged + i * (THREADS / CHUNK4), p.m - 1u);
        next_x[i] = x[m * p.cols4 + column];
    }
    for (var i = 0u; i < WEIGHT_QUADS; i++) {
        let row = min(first_row + staged + i * (THREADS / CHUNK4), p.rows - 1u);
        next_weights[i] = vec4<f16>(weights(row * p.cols4 + column));
    }

    var sums: array<Sums, DOWN * ACROSS>;
    for (var chunk = 0u; chunk < p.cols4; chunk += CHUNK4) {
        workgroupBarrier();
        for (var i = 0u; i < X_QUADS; i++) {
            let at = (staged + i * (THREADS / CHUNK4)) * STRIDE + 4u * column;
            for (var c = 0u; c < 4u; c++) {
                x_tile[at + c] = next_x[i][c];
            }
        }
        for (var i = 0u; i < WEIGHT_QUADS; i++) {
            let at = (staged + i * (THREADS / CHUNK4)) * STRIDE + 4u * column;
            for (var c = 0u; c < 4u; c++) {
                weight_tile[at + c] = next_weights[i][c];
            }
        }
        workgroupBarrier();
        let next = min(chunk + CHUNK4, p.cols4 - CHUNK4) + column; // the last chunk is read again
        for (var i = 0u; i < X_QUADS; i++) {
            let m = min(first_m + staged + i * (THREADS / CHUNK4), p.m - 1u);
            next_x[i] = x[m * p.cols4 + next];
        }
        for (var i = 0u; i < WEIGHT_QUADS; i++) {
            let row = min(first_row + staged + i * (THREADS / CHUNK4), p.rows - 1u);
            next_weights[i] = vec4<f16>(weights(row * p.cols4 + next));
        }
        for (var k = 0u; k < CHUNK; k += SIDE) {
            var right: array<Right, ACROSS>;
            for (var a = 0u; a < ACROSS; a++) {
                right[a] = coopLoad<Right>(&weight_tile[(sub_row + a * SIDE) * STRIDE + k], STRIDE);
            }
            for (var d = 0u; d < DOWN; d++) {
                let left = coopLoadT<Left>(&x_tile[(sub_m + d * SIDE) * STRIDE + k], STRIDE);
                for (var a = 0u; a < ACROSS; a++) {
                    sums[d * ACROSS + a] = coopMultiplyAdd(left, right[a], sums[d * ACROSS + a]);
                }
            }
        }
    }
    for (var d = 0u; d < DOWN; d++) {
        for (var a = 0u; a < ACROSS; a++) {
            workgroupBarrier();
            coopStoreT(sums[d * ACROSS + a], &finished[subgroup * SIDE * SIDE], SIDE);
            workgroupBarrier();
            for (var i = thread % LANES; i < SIDE * SIDE; i += LANES) {
                let m = first_m + sub_m + d * SIDE + i / SIDE;
                let row = first_row + sub_row + a * SIDE + i % SIDE;
                if m < p.m && row < p.rows {
                    var value = finished[subgroup * SIDE * SIDE + i] * x_scales[m];
                    if EXPONENT > 0u {
                        value *= scales[row];
                    }
                    if BIASED {
                        value += bias[row];
                    }
                    out[m * p.rows + row] = value;
                }
            }
        }
    }
}
