// Flash attention forward where vector units are narrow: `attention.wgsl` without workgroup memory. A
// software adapter pays for every lane of a load what eight products cost, and more for a barrier: so a
// subgroup owns 8 query rows, its lanes hold the keys and then the columns of the output, and what all
// of them need is loaded once, by the lane whose turn it is, and passed around in registers.
//
// All buffers are read_write because two of them may be slices of one. Sums have names, not indices:
// lavapipe keeps an indexed array in memory. Heads wider than 16 columns a lane make their scores anew
// for every part of the columns.

// Replaced at launch.
const HEAD_DIM4: u32 = 32u; // head_dim / 4
const LANES: u32 = 8u; // of a subgroup: 4 or 8
const MASKED: bool = true;
alias Element = f32; // of all tensors: f32, or f16 where the device has it; sums are f32

const THREADS: u32 = 256u;
const ROWS: u32 = 8u; // query rows of a subgroup
const KEYS: u32 = 4u; // keys of a lane
const COLUMNS: u32 = 4u; // vec4 columns of a lane
const LOWEST: f32 = -3.4028234663852886e38; // f32::MIN, the value of a masked key
const LAST_QUAD: u32 = HEAD_DIM4 - 1u;

// Query rows 0 to 3, and 4 to 7.
struct Pair {
    near: vec4<f32>,
    far: vec4<f32>,
}

// The output of this lane's columns, a matrix a row.
struct Sums {
    row0: mat4x4<f32>,
    row1: mat4x4<f32>,
    row2: mat4x4<f32>,
    row3: mat4x4<f32>,
    row4: mat4x4<f32>,
    row5: mat4x4<f32>,
    row6: mat4x4<f32>,
    row7: mat4x4<f32>,
}

@group(0) @binding(0) var<storage, read_write> q: array<vec4<Element>>; // [batch * kv_heads, rows, HEAD_DIM4]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<Element>>; // [batch * kv_heads, kv_tokens, HEAD_DIM4]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<Element>>; // as k
@group(0) @binding(3) var<storage, read_write> mask: array<Element>; // [1 | batch, 1 | heads, q_tokens, kv_tokens]
@group(0) @binding(4) var<storage, read_write> out: array<vec4<Element>>; // as q
@group(0) @binding(5) var<storage, read_write> params: array<u32>; // as in `attention.wgsl`

// What four lanes hold.
fn gather(value: vec4<f32>, lane: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupShuffle(value, lane), subgroupShuffle(value, lane + 1u),
        subgroupShuffle(value, lane + 2u), subgroupShuffle(value, lane + 3u),
    );
}

fn largest(value: vec4<f32>) -> vec4<f32> {
    var result = max(value, subgroupShuffleXor(value, 1u));
    result = max(result, subgroupShuffleXor(result, 2u));
    if LANES == 8u {
        result = max(result, subgroupShuffleXor(result, 4u));
    }
    return result;
}

fn total(value: vec4<f32>) -> vec4<f32> {
    var result = value + subgroupShuffleXor(value, 1u);
    result += subgroupShuffleXor(result, 2u);
    if LANES == 8u {
        result += subgroupShuffleXor(result, 4u);
    }
    return result;
}

fn mask_at(head: u32, row: u32, key: u32) -> f32 {
    let row_in = min(row, params[0] - 1u);
    let q_tokens = params[1];
    let kv_heads = params[3];
    let query_head = head % kv_heads * (params[0] / q_tokens) + row_in / q_tokens;
    let place = head / kv_heads * params[4] + query_head * params[5] + row_in % q_tokens * params[2] + key;
    return max(f32(mask[place]), LOWEST); // f16 has minus infinity for it
}

// Scaled and masked; a key beyond the last one takes no part.
fn finish(score: Pair, head: u32, row: u32, key: u32) -> Pair {
    if key >= params[2] {
        return Pair(vec4<f32>(LOWEST), vec4<f32>(LOWEST));
    }
    let scale = bitcast<f32>(params[9]);
    var result = Pair(score.near * scale, score.far * scale);
    if MASKED {
        result.near += vec4<f32>(
            mask_at(head, row, key), mask_at(head, row + 1u, key),
            mask_at(head, row + 2u, key), mask_at(head, row + 3u, key),
        );
        result.far += vec4<f32>(
            mask_at(head, row + 4u, key), mask_at(head, row + 5u, key),
            mask_at(head, row + 6u, key), mask_at(head, row + 7u, key),
        );
    }
    return result;
}

fn weigh(score: Pair, top: Pair, key: u32) -> Pair {
    if key >= params[2] {
        return Pair();
    }
    return Pair(exp(score.near - top.near), exp(score.far - top.far));
}

fn add(sums: ptr<function, Sums>, held: Pair, lane: u32, start: u32, quad: u32) {
    let near = subgroupShuffle(held.near, lane);
    let far = subgroupShuffle(held.far, lane);
    let values = mat4x4<f32>(
        vec4<f32>(v[start + min(quad, LAST_QUAD)]),
        vec4<f32>(v[start + min(quad + LANES, LAST_QUAD)]),
        vec4<f32>(v[start + min(quad + 2u * LANES, LAST_QUAD)]),
        vec4<f32>(v[start + min(quad + 3u * LANES, LAST_QUAD)]),
    );
    (*sums).row0 += near.x * values;
    (*sums).row1 += near.y * values;
    (*sums).row2 += near.z * values;
    (*sums).row3 += near.w * values;
    (*sums).row4 += far.x * values;
    (*sums).row5 += far.y * values;
    (*sums).row6 += far.z * values;
    (*sums).row7 += far.w * values;
}

fn write(row: u32, start: u32, quad: u32, values: mat4x4<f32>) {
    if row >= params[0] {
        return;
    }
    let place = start + row * HEAD_DIM4;
    if quad < HEAD_DIM4 {
        out[place + quad] = vec4<Element>(values[0]);
    }
    if quad + LANES < HEAD_DIM4 {
        out[place + quad + LANES] = vec4<Element>(values[1]);
    }
    if quad + 2u * LANES < HEAD_DIM4 {
        out[place + quad + 2u * LANES] = vec4<Element>(values[2]);
    }
    if quad + 3u * LANES < HEAD_DIM4 {
        out[place + quad + 3u * LANES] = vec4<Element>(values[3]);
    }
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let rows = params[0];
    let kv_tokens = params[2];
    let row_tiles = params[6];
    let quads = params[8];
    let lane = thread % LANES;
    let tile = (group.y * groups.x + group.x) * (THREADS / LANES) + thread / LANES;
    if tile >= params[7] {
        return;
    }
    let parts = (HEAD_DIM4 + COLUMNS * LANES - 1u) / (COLUMNS * LANES);
    let head = tile / (row_tiles * parts); // a key head of all batches
    let first_row = tile / parts % row_tiles * ROWS;
    let quad = tile % parts * COLUMNS * LANES + lane;
    let q_start = head * rows * HEAD_DIM4;
    let kv_start = head * kv_tokens * HEAD_DIM4;

    // Each lane loads the row of its number; four lanes load another one each.
    let query = q_start + min(first_row + lane, rows - 1u) * HEAD_DIM4;
    let query4 = q_start + min(first_row + 4u + lane, rows - 1u) * HEAD_DIM4;

    var sums = Sums();
    var top = Pair(vec4<f32>(LOWEST), vec4<f32>(LOWEST));
    var sum = Pair(); // of this lane's keys
    for (var first_key = 0u; first_key < kv_tokens; first_key += KEYS * LANES) {
        let key = first_key + lane;
        let last_key = kv_tokens - 1u;
        let key0 = kv_start + min(key, last_key) * HEAD_DIM4;
        let key1 = kv_start + min(key + LANES, last_key) * HEAD_DIM4;
        let key2 = kv_start + min(key + 2u * LANES, last_key) * HEAD_DIM4;
        let key3 = kv_start + min(key + 3u * LANES, last_key) * HEAD_DIM4;
        var score0 = Pair();
        var score1 = Pair();
        var score2 = Pair();
        var score3 = Pair();
        for (var i = 0u; i < quads; i++) {
            let value = vec4<f32>(q[query + i]);
            let near = gather(value, 0u);
            var far: mat4x4<f32>;
            if LANES == 8u {
                far = gather(value, 4u);
            } else {
                far = gather(vec4<f32>(q[query4 + i]), 0u);
            }
            let k0 = vec4<f32>(k[key0 + i]);
            let k1 = vec4<f32>(k[key1 + i]);
            let k2 = vec4<f32>(k[key2 + i]);
            let k3 = vec4<f32>(k[key3 + i]);
            score0.near += k0 * near;
            score0.far += k0 * far;
            score1.near += k1 * near;
            score1.far += k1 * far;
            score2.near += k2 * near;
            score2.far += k2 * far;
            score3.near += k3 * near;
            score3.far += k3 * far;
        }

        // Online softmax.
        score0 = finish(score0, head, first_row, key);
        score1 = finish(score1, head, first_row, key + LANES);
        score2 = finish(score2, head, first_row, key + 2u * LANES);
        score3 = finish(score3, head, first_row, key + 3u * LANES);
        let tile_near = max(max(score0.near, score1.near), max(score2.near, score3.near));
        let tile_far = max(max(score0.far, score1.far), max(score2.far, score3.far));
        let new_top = Pair(max(top.near, largest(tile_near)), max(top.far, largest(tile_far)));
        let near = exp(top.near - new_top.near);
        let far = exp(top.far - new_top.far);
        top = new_top;
        score0 = weigh(score0, top, key);
        score1 = weigh(score1, top, key + LANES);
        score2 = weigh(score2, top, key + 2u * LANES);
        score3 = weigh(score3, top, key + 3u * LANES);
        sum.near = sum.near * near + score0.near + score1.near + score2.near + score3.near;
        sum.far = sum.far * far + score0.far + score1.far + score2.far + score3.far;
        sums.row0 *= near.x;
        sums.row1 *= near.y;
        sums.row2 *= near.z;
        sums.row3 *= near.w;
        sums.row4 *= far.x;
        sums.row5 *= far.y;
        sums.row6 *= far.z;
        sums.row7 *= far.w;

        // Weights times values: a key of every lane in turn.
        for (var i = 0u; i < min(LANES, kv_tokens - first_key); i++) {
            let from_key = first_key + i;
            add(&sums, score0, i, kv_start + from_key * HEAD_DIM4, quad);
            add(&sums, score1, i, kv_start + min(from_key + LANES, last_key) * HEAD_DIM4, quad);
            add(&sums, score2, i, kv_start + min(from_key + 2u * LANES, last_key) * HEAD_DIM4, quad);
            add(&sums, score3, i, kv_start + min(from_key + 3u * LANES, last_key) * HEAD_DIM4, quad);
        }
    }

    let near = 1.0 / total(sum.near);
    let far = 1.0 / total(sum.far);
    write(first_row, q_start, quad, sums.row0 * near.x);
    write(first_row + 1u, q_start, quad, sums.row1 * near.y);
    write(first_row + 2u, q_start, quad, sums.row2 * near.z);
    write(first_row + 3u, q_start, quad, sums.row3 * near.w);
    write(first_row + 4u, q_start, quad, sums.row4 * far.x);
    write(first_row + 5u, q_start, quad, sums.row5 * far.y);
    write(first_row + 6u, q_start, quad, sums.row6 * far.z);
    write(first_row + 7u, q_start, quad, sums.row7 * far.w);
}
