// x times the transpose of a weight, dense or block-quantized, plus a bias, where vector units are
// narrow and lanes pass values to each other. A software adapter pays for every lane of a load what
// eight products cost, and more for a barrier: so a subgroup owns 16 or 32 input rows, a lane 8 weight
// rows, and the inputs are loaded once, by the lane whose turn it is, and passed around in registers.
//
// All buffers are read_write because two of them may be slices of one. Sums have names, not indices:
// lavapipe keeps an indexed array in memory.
//
// Parts: numbers.wgsl.

// Replaced at launch.
const LANES: u32 = 8u; // of a subgroup: 4 or 8
const QUADS: u32 = 8u; // vec4 of weights in a vec4 of words: 8 of nibbles, 4 of bytes, 2 of halves, 1 of floats
const ZERO: f32 = 0.0; // subtracted from a nibble
const TABLED: bool = false; // nibbles are places in TABLE
const TABLE: array<f32, 16> = array<f32, 16>();
const OFFSETS: bool = false; // a group has a scale, then an offset; else a scale
const GROUP4: u32 = 8u; // vec4 of weights that share a scale; 8 for nibbles
const EXPONENT: u32 = 0u; // bits of exponent of a float of 8 or 16 bits, whose row has a scale; 0 for a signed byte
const HALVES: bool = false; // floats of 16 bits
const BIASED: bool = false;
const FAR: bool = false; // 32 input rows of a subgroup, which then has 8 lanes; else 16

const THREADS: u32 = 256u;
const GROUP: u32 = 8u; // weight rows of a lane

// Input rows 0 to 3, 4 to 7, and so on to 15, of one weight row.
struct Sums16 {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

struct Sums {
    near: Sums16,
    far: Sums16, // 16 to 31
}

// The same rows of four columns.
struct Inputs16 {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
    c: mat4x4<f32>,
    d: mat4x4<f32>,
}

struct Inputs {
    near: Inputs16,
    far: Inputs16,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [m, cols4]
@group(0) @binding(1) var<storage, read_write> words: array<vec4<u32>>; // [rows, cols4 / QUADS]
@group(0) @binding(2) var<storage, read_write> scales: array<f32>; // [rows, groups, 1 | 2]; the bias of a dense weight, [rows]
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [m, rows]
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // m, rows, cols4, row_tiles, tiles, QUADS

// TABLE has to be in memory for its places to be read.
var<private> table: array<f32, 16> = TABLE;

// Four weights out of a vec4 of words, without their scale.
fn unpack(packed: vec4<u32>, part: u32) -> vec4<f32> {
    if QUADS == 1u {
        return bitcast<vec4<f32>>(packed);
    }
    if HALVES {
        return halves(packed[2u * part], packed[2u * part + 1u]);
    }
    let word = packed[part % 4u];
    if QUADS == 8u {
        let nibbles = (vec4<u32>(word) >> (vec4<u32>(0u, 8u, 16u, 24u) + part / 4u * 4u)) & vec4<u32>(15u);
        return numbers(nibbles);
    }
    if EXPONENT > 0u {
        return floats(word);
    }
    return vec4<f32>((vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

// Scale and offset of a group; `quad` counts vec4 from the first row on.
fn factors(quad: u32) -> vec2<f32> {
    let group = quad / GROUP4;
    if QUADS == 1u || EXPONENT > 0u {
        return vec2<f32>(1.0, 0.0);
    }
    if OFFSETS {
        return vec2<f32>(scales[2u * group], scales[2u * group + 1u]);
    }
    return vec2<f32>(scales[group], 0.0);
}

// What four lanes hold.
fn gather(value: vec4<f32>, lane: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupShuffle(value, lane), subgroupShuffle(value, lane + 1u),
        subgroupShuffle(value, lane + 2u), subgroupShuffle(value, lane + 3u),
    );
}

// What eight lanes hold of two.
fn gather_pair(first: vec4<f32>, second: vec4<f32>) -> Inputs16 {
    return Inputs16(gather(first, 0u), gather(first, 4u), gather(second, 0u), gather(second, 4u));
}

fn add(sums: ptr<function, Sums>, inputs: Inputs, weights: vec4<f32>, factors: vec2<f32>) {
    var scaled = weights;
    if QUADS != 1u && EXPONENT == 0u {
        scaled = weights * factors.x;
    }
    if OFFSETS {
        scaled += factors.y;
    }
    (*sums).near.a += scaled * inputs.near.a;
    (*sums).near.b += scaled * inputs.near.b;
    (*sums).near.c += scaled * inputs.near.c;
    (*sums).near.d += scaled * inputs.near.d;
    if FAR {
        (*sums).far.a += scaled * inputs.far.a;
        (*sums).far.b += scaled * inputs.far.b;
        (*sums).far.c += scaled * inputs.far.c;
        (*sums).far.d += scaled * inputs.far.d;
    }
}

fn write4(m: u32, row: u32, sums: vec4<f32>, bias: f32) {
    let rows = params[1];
    var scale = 1.0;
    if EXPONENT > 0u {
        scale = scales[row];
    }
    for (var i = 0u; i < min(4u, max(params[0], m) - m); i++) {
        out[(m + i) * rows + row] = sums[i] * scale + bias;
    }
}

fn write(m: u32, row: u32, sums: Sums) {
    if row >= params[1] {
        return;
    }
    var bias = 0.0;
    if BIASED {
        bias = scales[row];
    }
    write16(m, row, sums.near, bias);
    if FAR {
        write16(m + 16u, row, sums.far, bias);
    }
}

fn write16(m: u32, row: u32, sums: Sums16, bias: f32) {
    write4(m, row, sums.a, bias);
    write4(m + 4u, row, sums.b, bias);
    write4(m + 8u, row, sums.c, bias);
    write4(m + 12u, row, sums.d, bias);
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
    let quads = params[5];
    let lane = thread % LANES;
    let tile = (group.y * groups.x + group.x) * (THREADS / LANES) + thread / LANES;
    if tile >= params[4] {
        return;
    }
    // Beyond the edges the last row is read again; what it gives is not written.
    let m = tile / row_tiles * select(16u, 32u, FAR);
    let row = tile % row_tiles * GROUP * LANES + lane;
    let x0 = min(m + lane, last_m) * cols4;
    let x1 = min(m + lane + LANES, last_m) * cols4;
    let x2 = min(m + lane + 2u * LANES, last_m) * cols4;
    let x3 = min(m + lane + 3u * LANES, last_m) * cols4;
    let w0 = min(row, last_row) * cols4;
    let w1 = min(row + 1u * LANES, last_row) * cols4;
    let w2 = min(row + 2u * LANES, last_row) * cols4;
    let w3 = min(row + 3u * LANES, last_row) * cols4;
    let w4 = min(row + 4u * LANES, last_row) * cols4;
    let w5 = min(row + 5u * LANES, last_row) * cols4;
    let w6 = min(row + 6u * LANES, last_row) * cols4;
    let w7 = min(row + 7u * LANES, last_row) * cols4;

    var sums0 = Sums();
    var sums1 = Sums();
    var sums2 = Sums();
    var sums3 = Sums();
    var sums4 = Sums();
    var sums5 = Sums();
    var sums6 = Sums();
    var sums7 = Sums();
    for (var first = 0u; first < cols4; first += QUADS) {
        let packed0 = words[(w0 + first) / QUADS];
        let packed1 = words[(w1 + first) / QUADS];
        let packed2 = words[(w2 + first) / QUADS];
        let packed3 = words[(w3 + first) / QUADS];
        let packed4 = words[(w4 + first) / QUADS];
        let packed5 = words[(w5 + first) / QUADS];
        let packed6 = words[(w6 + first) / QUADS];
        let packed7 = words[(w7 + first) / QUADS];
        let factors0 = factors(w0 + first);
        let factors1 = factors(w1 + first);
        let factors2 = factors(w2 + first);
        let factors3 = factors(w3 + first);
        let factors4 = factors(w4 + first);
        let factors5 = factors(w5 + first);
        let factors6 = factors(w6 + first);
        let factors7 = factors(w7 + first);
        for (var part = 0u; part < quads; part++) {
            let quad = first + part;
            var inputs: Inputs;
            if LANES == 8u {
                inputs.near = gather_pair(x[x0 + quad], x[x1 + quad]);
                if FAR {
                    inputs.far = gather_pair(x[x2 + quad], x[x3 + quad]);
                }
            } else {
                inputs.near = Inputs16(
                    gather(x[x0 + quad], 0u), gather(x[x1 + quad], 0u),
                    gather(x[x2 + quad], 0u), gather(x[x3 + quad], 0u),
                );
            }
            add(&sums0, inputs, unpack(packed0, part), factors0);
            add(&sums1, inputs, unpack(packed1, part), factors1);
            add(&sums2, inputs, unpack(packed2, part), factors2);
            add(&sums3, inputs, unpack(packed3, part), factors3);
            add(&sums4, inputs, unpack(packed4, part), factors4);
            add(&sums5, inputs, unpack(packed5, part), factors5);
            add(&sums6, inputs, unpack(packed6, part), factors6);
            add(&sums7, inputs, unpack(packed7, part), factors7);
        }
    }
    write(m, row, sums0);
    write(m, row + 1u * LANES, sums1);
    write(m, row + 2u * LANES, sums2);
    write(m, row + 3u * LANES, sums3);
    write(m, row + 4u * LANES, sums4);
    write(m, row + 5u * LANES, sums5);
    write(m, row + 6u * LANES, sums6);
    write(m, row + 7u * LANES, sums7);
}
