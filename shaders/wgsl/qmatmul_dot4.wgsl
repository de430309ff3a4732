// x, rounded to bytes, times the transpose of a weight of whole numbers of 8 or 4 bits, by products of four
// bytes at once, where vector units are narrow and lanes pass values to each other: `linear_narrow.wgsl` in whole
// numbers. A subgroup owns 16 or 32 input rows, a lane 8 weight rows.
//
// All buffers are read_write because two of them may be slices of one. Sums have names, not indices:
// lavapipe keeps an indexed array in memory.

// Replaced at launch.
const LANES: u32 = 8u; // of a subgroup: 4 or 8
const NIBBLES: bool = false; // 8 quants a word, the first 16 of a group low, the last high; else 4 bytes
const ZERO: u32 = 0u; // subtracted from a nibble: 0 or 8
const OFFSETS: bool = false; // a group has a scale, then an offset; else a scale
const FAR: bool = false; // 32 input rows of a subgroup, which then has 8 lanes; else 16

const THREADS: u32 = 256u;
const ROWS: u32 = 8u; // weight rows of a lane

// 32 numbers of a row.
struct Group {
    low: vec4<u32>, // the first 16
    high: vec4<u32>,
    scale: f32,
    more: f32, // the offset of a weight; of an input, the sum that it is multiplied with
}

// Those of a lane.
struct Weights {
    w0: Group,
    w1: Group,
    w2: Group,
    w3: Group,
    w4: Group,
    w5: Group,
    w6: Group,
    w7: Group,
}

// The sums of an input row and the lane's weight rows.
struct Sums {
    a: vec4<f32>,
    b: vec4<f32>,
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<u32>>; // [m, groups, 2]
@group(0) @binding(1) var<storage, read_write> x_scales: array<vec2<f32>>; // [m, groups]
@group(0) @binding(2) var<storage, read_write> words: array<vec4<u32>>; // [rows, groups, 1 of nibbles | 2 of bytes]
@group(0) @binding(3) var<storage, read_write> scales: array<f32>; // [rows, groups, 1 | 2]
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [m, rows]
@group(0) @binding(5) var<storage, read_write> params: array<u32>; // m, rows, groups, row_tiles, tiles

fn inputs(at: u32) -> Group {
    let factors = x_scales[at];
    return Group(x[2u * at], x[2u * at + 1u], factors.x, factors.y);
}

// Four nibbles, less the zero point, as signed bytes: no borrow leaves a byte.
fn bytes(nibbles: vec4<u32>) -> vec4<u32> {
    if ZERO == 0u {
        return nibbles;
    }
    return ((nibbles | vec4<u32>(0x80808080u)) - vec4<u32>(ZERO * 0x01010101u)) ^ vec4<u32>(0x80808080u);
}

fn weights(at: u32) -> Group {
    var group: Group;
    if NIBBLES {
        let packed = words[at];
        group.low = bytes(packed & vec4<u32>(0x0f0f0f0fu));
        group.high = bytes((packed >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu));
    } else {
        group.low = words[2u * at];
        group.high = words[2u * at + 1u];
    }
    if OFFSETS {
        group.scale = scales[2u * at];
        group.more = scales[2u * at + 1u];
    } else {
        group.scale = scales[at];
    }
    return group;
}

// What another lane holds.
fn of_lane(group: Group, lane: u32) -> Group {
    var more = 0.0;
    if OFFSETS {
        more = subgroupShuffle(group.more, lane);
    }
    return Group(
        subgroupShuffle(group.low, lane),
        subgroupShuffle(group.high, lane),
        subgroupShuffle(group.scale, lane),
        more,
    );
}

fn product(input: Group, weight: Group) -> f32 {
    let sum = dot4I8Packed(input.low.x, weight.low.x) + dot4I8Packed(input.low.y, weight.low.y)
        + dot4I8Packed(input.low.z, weight.low.z) + dot4I8Packed(input.low.w, weight.low.w)
        + dot4I8Packed(input.high.x, weight.high.x) + dot4I8Packed(input.high.y, weight.high.y)
        + dot4I8Packed(input.high.z, weight.high.z) + dot4I8Packed(input.high.w, weight.high.w);
    let scaled = f32(sum) * (input.scale * weight.scale);
    if OFFSETS {
        return scaled + input.more * weight.more;
    }
    return scaled;
}

fn plus(sums: Sums, input: Group, weights: Weights) -> Sums {
    return Sums(
        sums.a + vec4<f32>(
            product(input, weights.w0), product(input, weights.w1),
            product(input, weights.w2), product(input, weights.w3),
        ),
        sums.b + vec4<f32>(
            product(input, weights.w4), product(input, weights.w5),
            product(input, weights.w6), product(input, weights.w7),
        ),
    );
}

fn write(m: u32, row: u32, sums: Sums) {
    let rows = params[1];
    if m >= params[0] {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if row + i * LANES < rows {
            out[m * rows + row + i * LANES] = sums.a[i];
        }
        if row + (i + 4u) * LANES < rows {
            out[m * rows + row + (i + 4u) * LANES] = sums.b[i];
        }
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
    let count = params[2];
    let row_tiles = params[3];
    let lane = thread % LANES;
    let tile = (group.y * groups.x + group.x) * (THREADS / LANES) + thread / LANES;
    if tile >= params[4] {
        return;
    }
    // Beyond the edges the last row is read again; what it gives is not written.
    let m = tile / row_tiles * select(16u, 32u, FAR);
    let row = tile % row_tiles * ROWS * LANES + lane;
    let x0 = min(m + lane, last_m) * count;
    let x1 = min(m + lane + LANES, last_m) * count;
    let x2 = min(m + lane + 2u * LANES, last_m) * count;
    let x3 = min(m + lane + 3u * LANES, last_m) * count;
    let w0 = min(row + 0u * LANES, last_row) * count;
    let w1 = min(row + 1u * LANES, last_row) * count;
    let w2 = min(row + 2u * LANES, last_row) * count;
    let w3 = min(row + 3u * LANES, last_row) * count;
    let w4 = min(row + 4u * LANES, last_row) * count;
    let w5 = min(row + 5u * LANES, last_row) * count;
    let w6 = min(row + 6u * LANES, last_row) * count;
    let w7 = min(row + 7u * LANES, last_row) * count;

    var sums0 = Sums();
    var sums1 = Sums();
    var sums2 = Sums();
    var sums3 = Sums();
    var sums4 = Sums();
    var sums5 = Sums();
    var sums6 = Sums();
    var sums7 = Sums();
    var sums8 = Sums();
    var sums9 = Sums();
    var sums10 = Sums();
    var sums11 = Sums();
    var sums12 = Sums();
    var sums13 = Sums();
    var sums14 = Sums();
    var sums15 = Sums();
    var sums16 = Sums();
    var sums17 = Sums();
    var sums18 = Sums();
    var sums19 = Sums();
    var sums20 = Sums();
    var sums21 = Sums();
    var sums22 = Sums();
    var sums23 = Sums();
    var sums24 = Sums();
    var sums25 = Sums();
    var sums26 = Sums();
    var sums27 = Sums();
    var sums28 = Sums();
    var sums29 = Sums();
    var sums30 = Sums();
    var sums31 = Sums();
    for (var i = 0u; i < count; i++) {
        let tile_weights = Weights(
            weights(w0 + i), weights(w1 + i),
            weights(w2 + i), weights(w3 + i),
            weights(w4 + i), weights(w5 + i),
            weights(w6 + i), weights(w7 + i),
        );
        let near = inputs(x0 + i);
        let next = inputs(x1 + i);
        sums0 = plus(sums0, of_lane(near, 0u), tile_weights);
        sums1 = plus(sums1, of_lane(near, 1u), tile_weights);
        sums2 = plus(sums2, of_lane(near, 2u), tile_weights);
        sums3 = plus(sums3, of_lane(near, 3u), tile_weights);
        if LANES == 8u {
            sums4 = plus(sums4, of_lane(near, 4u), tile_weights);
            sums5 = plus(sums5, of_lane(near, 5u), tile_weights);
            sums6 = plus(sums6, of_lane(near, 6u), tile_weights);
            sums7 = plus(sums7, of_lane(near, 7u), tile_weights);
            sums8 = plus(sums8, of_lane(next, 0u), tile_weights);
            sums9 = plus(sums9, of_lane(next, 1u), tile_weights);
            sums10 = plus(sums10, of_lane(next, 2u), tile_weights);
            sums11 = plus(sums11, of_lane(next, 3u), tile_weights);
            sums12 = plus(sums12, of_lane(next, 4u), tile_weights);
            sums13 = plus(sums13, of_lane(next, 5u), tile_weights);
            sums14 = plus(sums14, of_lane(next, 6u), tile_weights);
            sums15 = plus(sums15, of_lane(next, 7u), tile_weights);
        } else {
            let third = inputs(x2 + i);
            let fourth = inputs(x3 + i);
            sums4 = plus(sums4, of_lane(next, 0u), tile_weights);
            sums5 = plus(sums5, of_lane(next, 1u), tile_weights);
            sums6 = plus(sums6, of_lane(next, 2u), tile_weights);
            sums7 = plus(sums7, of_lane(next, 3u), tile_weights);
            sums8 = plus(sums8, of_lane(third, 0u), tile_weights);
            sums9 = plus(sums9, of_lane(third, 1u), tile_weights);
            sums10 = plus(sums10, of_lane(third, 2u), tile_weights);
            sums11 = plus(sums11, of_lane(third, 3u), tile_weights);
            sums12 = plus(sums12, of_lane(fourth, 0u), tile_weights);
            sums13 = plus(sums13, of_lane(fourth, 1u), tile_weights);
            sums14 = plus(sums14, of_lane(fourth, 2u), tile_weights);
            sums15 = plus(sums15, of_lane(fourth, 3u), tile_weights);
        }
        if FAR {
            let third = inputs(x2 + i);
            let fourth = inputs(x3 + i);
            sums16 = plus(sums16, of_lane(third, 0u), tile_weights);
            sums17 = plus(sums17, of_lane(third, 1u), tile_weights);
            sums18 = plus(sums18, of_lane(third, 2u), tile_weights);
            sums19 = plus(sums19, of_lane(third, 3u), tile_weights);
            sums20 = plus(sums20, of_lane(third, 4u), tile_weights);
            sums21 = plus(sums21, of_lane(third, 5u), tile_weights);
            sums22 = plus(sums22, of_lane(third, 6u), tile_weights);
            sums23 = plus(sums23, of_lane(third, 7u), tile_weights);
            sums24 = plus(sums24, of_lane(fourth, 0u), tile_weights);
            sums25 = plus(sums25, of_lane(fourth, 1u), tile_weights);
            sums26 = plus(sums26, of_lane(fourth, 2u), tile_weights);
            sums27 = plus(sums27, of_lane(fourth, 3u), tile_weights);
            sums28 = plus(sums28, of_lane(fourth, 4u), tile_weights);
            sums29 = plus(sums29, of_lane(fourth, 5u), tile_weights);
            sums30 = plus(sums30, of_lane(fourth, 6u), tile_weights);
            sums31 = plus(sums31, of_lane(fourth, 7u), tile_weights);
        }
    }
    write(m + 0u, row, sums0);
    write(m + 1u, row, sums1);
    write(m + 2u, row, sums2);
    write(m + 3u, row, sums3);
    write(m + 4u, row, sums4);
    write(m + 5u, row, sums5);
    write(m + 6u, row, sums6);
    write(m + 7u, row, sums7);
    write(m + 8u, row, sums8);
    write(m + 9u, row, sums9);
    write(m + 10u, row, sums10);
    write(m + 11u, row, sums11);
    write(m + 12u, row, sums12);
    write(m + 13u, row, sums13);
    write(m + 14u, row, sums14);
    write(m + 15u, row, sums15);
    if FAR {
        write(m + 16u, row, sums16);
        write(m + 17u, row, sums17);
        write(m + 18u, row, sums18);
        write(m + 19u, row, sums19);
        write(m + 20u, row, sums20);
        write(m + 21u, row, sums21);
        write(m + 22u, row, sums22);
        write(m + 23u, row, sums23);
        write(m + 24u, row, sums24);
        write(m + 25u, row, sums25);
        write(m + 26u, row, sums26);
        write(m + 27u, row, sums27);
        write(m + 28u, row, sums28);
        write(m + 29u, row, sums29);
        write(m + 30u, row, sums30);
        write(m + 31u, row, sums31);
    }
}
