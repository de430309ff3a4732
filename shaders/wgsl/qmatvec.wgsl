// x times the transpose of a block-quantized weight, for one to eight input rows (a decoding LLM):
// bound by reading the weight, so each word is read once and expanded in registers. 32 neighbouring
// threads walk one weight row together; a workgroup makes 8 weight rows.
//
// All buffers are read_write because two of them may be slices of one; what stands before a barrier
// comes through workgroupUniformLoad, or Tint rejects the barrier.
//
// Parts: numbers.wgsl.

// Replaced at launch.
const NIBBLES: bool = false; // 8 quants a word, the first 16 of a group low, the last high; else 4 bytes
const ZERO: f32 = 0.0; // subtracted from a nibble
const TABLED: bool = false; // nibbles are places in TABLE
const TABLE: array<f32, 16> = array<f32, 16>();
const OFFSETS: bool = false; // a group has a scale, then an offset; else a scale
const GROUP4: u32 = 8u; // vec4 of weights that share a scale; 8 for nibbles
const EXPONENT: u32 = 0u; // bits of exponent of a float of 8 or 16 bits, whose row has a scale; 0 for a signed byte
const HALVES: bool = false; // floats of 16 bits
const INPUT_ROWS: u32 = 8u; // at least m

const THREADS: u32 = 256u;
const LANES: u32 = 32u; // threads on one weight row
const WEIGHT_ROWS: u32 = THREADS / LANES;

struct Params {
    m: u32, // input rows
    rows: u32, // weight rows
    cols4: u32, // inner dimension / 4, a multiple of GROUP4
    tiles: u32, // workgroups with work
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [m, cols4]
@group(0) @binding(1) var<storage, read_write> words: array<u32>; // [rows, quants]
@group(0) @binding(2) var<storage, read_write> scales: array<f32>; // [rows, groups, 1 | 2]
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [m, rows]
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // the fields of Params

var<workgroup> shared_params: Params;
var<workgroup> table: array<f32, 16>; // TABLE, which has to be in memory for its places to be read
var<workgroup> partial: array<f32, INPUT_ROWS * THREADS>; // [INPUT_ROWS, WEIGHT_ROWS, LANES]

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
        shared_params = Params(params[0], params[1], params[2], params[3]);
    }
    let p = workgroupUniformLoad(&shared_params);
    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {
        return;
    }
    let first_row = tile * WEIGHT_ROWS;
    // Beyond the edges the last row is computed again and not written.
    let row = min(first_row + thread / LANES, p.rows - 1u);
    let row_words = select(p.cols4, p.cols4 / 2u, NIBBLES);
    let row_groups = p.cols4 / GROUP4;

    var acc: array<f32, INPUT_ROWS>;
    for (var i = thread % LANES; i < row_words; i += LANES) {
        let group = select(i / GROUP4, i / 4u, NIBBLES);
        let at = row * row_words + i;
        let word = words[select(at, 2u * at, HALVES)];
        var scale = 0.0;
        var offset = 0.0;
        if OFFSETS {
            scale = scales[2u * (row * row_groups + group)];
            offset = scales[2u * (row * row_groups + group) + 1u];
        } else if EXPONENT == 0u {
            scale = scales[row * row_groups + group];
        }
        if NIBBLES {
            let shifted = vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
            let low = numbers(shifted & vec4<u32>(15u)) * scale + offset;
            let high = numbers((shifted >> vec4<u32>(4u)) & vec4<u32>(15u)) * scale + offset;
            let quad = group * GROUP4 + i % 4u;
            for (var m = 0u; m < INPUT_ROWS; m++) {
                let input = min(m, p.m - 1u) * p.cols4 + quad;
                acc[m] += dot(low, x[input]) + dot(high, x[input + 4u]);
            }
        } else if EXPONENT > 0u {
            var weights = floats(word);
            if HALVES {
                weights = halves(word, words[2u * at + 1u]);
            }
            for (var m = 0u; m < INPUT_ROWS; m++) {
                acc[m] += dot(weights, x[min(m, p.m - 1u) * p.cols4 + i]);
            }
        } else {
            let bytes = (vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
            let weights = vec4<f32>(bytes) * scale + offset;
            for (var m = 0u; m < INPUT_ROWS; m++) {
                acc[m] += dot(weights, x[min(m, p.m - 1u) * p.cols4 + i]);
            }
        }
    }
    for (var m = 0u; m < INPUT_ROWS; m++) {
        partial[m * THREADS + thread] = acc[m];
    }
    workgroupBarrier();
    let m = thread / WEIGHT_ROWS;
    let made_row = first_row + thread % WEIGHT_ROWS;
    if m < p.m && made_row < p.rows {
        var sum = 0.0;
        for (var lane = 0u; lane < LANES; lane++) {
            sum += partial[m * THREADS + thread % WEIGHT_ROWS * LANES + lane];
        }
        if EXPONENT > 0u {
            sum *= scales[made_row];
        }
        out[m * p.rows + made_row] = sum;
    }
}
