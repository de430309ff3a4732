// x times the transpose of a block-quantized weight on cooperative matrices: tensor cores, or what a driver has
// for them. Inputs and weights are f16, sums f32. A workgroup of eight or sixteen subgroups, four across,
// expands a tile of either side into workgroup memory; a subgroup makes DOWN by ACROSS matrices of outputs. Where the
// driver chooses among sizes of subgroups, one finds out by itself whose work it has to do.
// While the matrices of a chunk are multiplied, the next chunk is on its way to registers. What is left of a value
// (its scales, the bias, GELU or the gated residual) is done before it is written for the first time.
//
// naga loads a matrix column by column with coopLoad, row by row with coopLoadT. All buffers are read_write
// because two of them may be slices of one.
//
// Parts: numbers.wgsl, weights.wgsl, stored.wgsl.

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
const JOINED: bool = false; // the columns of x from left4 on are in `x_right`
const GELU: bool = false; // of the value with its bias
const GATED: bool = false; // the residual plus gate times the value with its bias
const LANES: u32 = 32u; // of the smallest subgroup
const ROLES: u32 = 1u; // lanes of the largest subgroup / LANES: a larger one does the work of several
const SIDE: u32 = 16u; // of a matrix
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
const DOWN: u32 = 4u; // matrices of a subgroup along the input rows
const SUBGROUPS_DOWN: u32 = 2u;

const ACROSS: u32 = 2u; // matrices of a subgroup along the weight rows
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
    x_scale_stride: u32, // 0 where all rows have one scale
    left4: u32, // where JOINED, columns of x / 4
    tokens: u32, // where GATED, rows that share a gate
    gate_stride: u32, // elements between two gates
    roles: u32, // of a subgroup here
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f16>>; // [m, cols4], or [m, left4] where JOINED
@group(0) @binding(1) var<storage, read_write> x_right: array<vec4<f16>>; // [m, cols4 - left4], where JOINED
@group(0) @binding(2) var<storage, read_write> x_scales: array<f32>; // [m | 1]
@group(0) @binding(3) var<storage, read_write> words: array<u32>; // [rows, quants]
@group(0) @binding(4) var<storage, read_write> scales: array<f32>; // [rows, groups, 1 | 2]
@group(0) @binding(5) var<storage, read_write> bias: array<f32>; // [rows], where BIASED
@group(0) @binding(6) var<storage, read_write> residual: array<f32>; // as out, where GATED
@group(0) @binding(7) var<storage, read_write> gate: array<f32>; // [m / tokens, rows], strided, where GATED
@group(0) @binding(8) var<storage, read_write> out: array<Element>; // [m, rows]
@group(0) @binding(9) var<storage, read_write> params: array<u32>; // the fields of Params

var<workgroup> shared_params: Params;
var<workgroup> table: array<f32, 16>; // TABLE, which has to be in memory for its places to be read
var<workgroup> x_tile: array<f16, M_TILE * STRIDE>; // [M_TILE, STRIDE]
var<workgroup> weight_tile: array<f16, ROW_TILE * STRIDE>; // [ROW_TILE, STRIDE]
var<workgroup> finished: array<f32, SUBGROUPS * SIDE * SIDE>; // a matrix of each subgroup

// Four inputs of row `m`, from column 4 `column4` on.
fn inputs(m: u32, column4: u32, cols4: u32, left4: u32) -> vec4<f16> {
    if !JOINED {
        return x[m * cols4 + column4];
    }
    if column4 < left4 {
        return x[m * left4 + column4];
    }
    return x_right[m * (cols4 - left4) + column4 - left4];
}

fn gelu(x: f32) -> f32 {
    // x · sigmoid(2u) with sqrt(8 / π) and its product with the cubic term's coefficient.
    let z = x * (1.595769 + 0.0713548 * x * x);
    // sigmoid(z) from e^-|z|, which can't overflow.
    let e = exp(-abs(z));
    return x * (select(1.0, e, z < 0.0) / (1.0 + e));
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    if thread == 0u {
        if TABLED {
            table = TABLE;
        }
        shared_params = Params(
            params[0], params[1], params[2], params[3], params[4],
            params[5], params[6], params[7], params[8], SUBGROUPS / subgroups,
        );
    }
    let p = workgroupUniformLoad(&shared_params);
    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {
        return;
    }
    let first_m = tile / p.row_tiles * M_TILE;
    let first_row = tile % p.row_tiles * ROW_TILE;

    // Beyond the edges the last row is staged again; what it gives is not written.
    let column = thread % CHUNK4;
    let staged = thread / CHUNK4;
    var next_x: array<vec4<f16>, X_QUADS>;
    var next_weights: array<vec4<f16>, WEIGHT_QUADS>;
    for (var i = 0u; i < X_QUADS; i++) {
        let m = min(first_m + staged + i * (THREADS / CHUNK4), p.m - 1u);
        next_x[i] = inputs(m, column, p.cols4, p.left4);
    }
    for (var i = 0u; i < WEIGHT_QUADS; i++) {
        let row = min(first_row + staged + i * (THREADS / CHUNK4), p.rows - 1u);
        next_weights[i] = vec4<f16>(weights(row * p.cols4 + column));
    }

    var sums: array<Sums, ROLES * DOWN * ACROSS>;
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
            next_x[i] = inputs(m, next, p.cols4, p.left4);
        }
        for (var i = 0u; i < WEIGHT_QUADS; i++) {
            let row = min(first_row + staged + i * (THREADS / CHUNK4), p.rows - 1u);
            next_weights[i] = vec4<f16>(weights(row * p.cols4 + next));
        }
        for (var role = 0u; role < ROLES; role++) {
            if ROLES > 1u && role >= p.roles {
                break;
            }
            let part = subgroup + role * subgroups;
            let part_m = part / SUBGROUPS_ACROSS * DOWN * SIDE;
            let part_row = part % SUBGROUPS_ACROSS * ACROSS * SIDE;
            for (var k = 0u; k < CHUNK; k += SIDE) {
                var right: array<Right, ACROSS>;
                for (var a = 0u; a < ACROSS; a++) {
                    right[a] = coopLoad<Right>(&weight_tile[(part_row + a * SIDE) * STRIDE + k], STRIDE);
                }
                for (var d = 0u; d < DOWN; d++) {
                    let left = coopLoadT<Left>(&x_tile[(part_m + d * SIDE) * STRIDE + k], STRIDE);
                    for (var a = 0u; a < ACROSS; a++) {
                        let at = (role * DOWN + d) * ACROSS + a;
                        sums[at] = coopMultiplyAdd(left, right[a], sums[at]);
                    }
                }
            }
        }
    }

    // LANES threads finish what one subgroup, or a role of one, has summed up.
    let finisher = thread / LANES;
    let sub_m = finisher / SUBGROUPS_ACROSS * DOWN * SIDE;
    let sub_row = finisher % SUBGROUPS_ACROSS * ACROSS * SIDE;
    for (var d = 0u; d < DOWN; d++) {
        for (var a = 0u; a < ACROSS; a++) {
            workgroupBarrier();
            for (var role = 0u; role < ROLES; role++) {
                if ROLES > 1u && role >= p.roles {
                    break;
                }
                let place = (subgroup + role * subgroups) * SIDE * SIDE;
                coopStoreT(sums[(role * DOWN + d) * ACROSS + a], &finished[place], SIDE);
            }
            workgroupBarrier();
            for (var i = thread % LANES; i < SIDE * SIDE; i += LANES) {
                let m = first_m + sub_m + d * SIDE + i / SIDE;
                let row = first_row + sub_row + a * SIDE + i % SIDE;
                if m < p.m && row < p.rows {
                    var value = finished[finisher * SIDE * SIDE + i] * x_scales[m * p.x_scale_stride];
                    if EXPONENT > 0u {
                        value *= scales[row];
                    }
                    if BIASED {
                        value += bias[row];
                    }
                    if GELU {
                        value = gelu(value);
                    }
                    if GATED {
                        value = residual[m * p.rows + row] + gate[m / p.tokens * p.gate_stride + row] * value;
                    }
                    out[m * p.rows + row] = stored(value);
                }
            }
        }
    }
}
