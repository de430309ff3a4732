// Flash attention forward on cooperative matrices: softmax(q kᵀ · scale + mask) v with an online softmax. Queries,
// keys, values and weights are f16 with scales (see halves.wgsl), sums f32. Where HALF, queries, keys and values are
// sixteenths without scales, and in the output the heads of a token are joined.
//
// A workgroup of four subgroups owns a tile of query rows of ONE key head: the query heads that share it follow
// each other in memory and are read as rows of one matrix. A subgroup owns SIDE rows: its queries and its part
// of the output stay in its matrices. A matrix can't be multiplied row by row, so the outputs are rescaled only
// when a row's largest score has risen by more than RISE since: until then weights may be as large as
// exp(RISE), which f16 holds. This is rare after the first tiles.
//
// naga loads a matrix column by column with coopLoad, row by row with coopLoadT. All buffers are read_write
// because two of them may be slices of one.
//
// Parts: stored.wgsl.

enable f16;
enable wgpu_cooperative_matrix;

// Replaced at launch.
const HEAD_DIM4: u32 = 32u; // head_dim / 4; head_dim is a multiple of SIDE, at most 128
const MASKED: bool = true;
const LANES: u32 = 32u; // of the smallest subgroup; a multiple of SIDE
const ROLES: u32 = 1u; // lanes of the largest subgroup / LANES: a larger one does the work of several
const SIDE: u32 = 16u; // of a matrix
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;

const SUBGROUPS: u32 = 4u;
const THREADS: u32 = SUBGROUPS * LANES;
const ROWS: u32 = SUBGROUPS * SIDE; // query rows of a workgroup
const KEYS: u32 = 32u; // keys of a tile
const PARTS: u32 = 4u * HEAD_DIM4 / SIDE; // matrices along a head
const STRIDE: u32 = 4u * HEAD_DIM4 + 8u; // apart from banks
const SHARE: u32 = LANES / SIDE; // lanes that share the softmax of a row
const SCORES: u32 = SIDE * KEYS; // of a subgroup
const RISE: f32 = 8.0;
const LOWEST: f32 = -3.4028234663852886e38; // f32::MIN, the value of a masked key

struct Params {
    rows: u32, // query rows of a key head: query heads in its group times q_tokens
    q_tokens: u32,
    kv_tokens: u32,
    kv_heads: u32,
    mask_batch_stride: u32, // 0 where the mask has one batch
    mask_head_stride: u32, // 0 where the mask has one head
    row_tiles: u32, // tiles of a key head
    tiles: u32, // tiles of all key heads of all batches
    scale: f32,
    roles: u32, // of a subgroup here
}

@group(0) @binding(0) var<storage, read_write> q: array<f16>; // [batch * kv_heads, rows, head_dim], then ROWS more
@group(0) @binding(1) var<storage, read_write> q_scales: array<f32>; // [batch * kv_heads, rows], unless HALF
@group(0) @binding(2) var<storage, read_write> k: array<vec4<f16>>; // [batch * kv_heads, kv_tokens, HEAD_DIM4]
@group(0) @binding(3) var<storage, read_write> k_scales: array<f32>; // [batch * kv_heads, kv_tokens], unless HALF
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f16>>; // as k
@group(0) @binding(5) var<storage, read_write> v_scales: array<f32>; // as k_scales
@group(0) @binding(6) var<storage, read_write> mask: array<f32>; // [1 | batch, 1 | heads, q_tokens, kv_tokens]
@group(0) @binding(7) var<storage, read_write> out: array<Element>; // as q, without more; [batch, q_tokens, heads, head_dim] where HALF
@group(0) @binding(8) var<storage, read_write> params: array<u32>; // the fields of Params

var<workgroup> shared_params: Params;
var<workgroup> tile: array<f16, KEYS * STRIDE>; // keys, then values
var<workgroup> scores: array<f32, SUBGROUPS * SCORES>; // [ROWS, KEYS]
var<workgroup> key_weights: array<f16, SUBGROUPS * SCORES>; // exponentials of the scores, as [ROWS, KEYS]
var<workgroup> moved: array<f32, SUBGROUPS * SIDE * SIDE>; // a matrix of each subgroup
var<workgroup> shared_lanes: array<f32, THREADS>;
var<workgroup> factors: array<f32, ROWS>;
var<workgroup> rises: u32;

// Puts four numbers of a key or a value into `tile`.
fn stage(at: u32, quad: vec4<f16>) {
    for (var c = 0u; c < 4u; c++) {
        tile[at + c] = quad[c];
    }
}

fn k_scale(key: u32) -> f32 {
    if HALF {
        return 16.0;
    }
    return k_scales[key];
}

// A value's scale relative to the largest one.
fn v_weight(key: u32, largest: f32) -> f32 {
    if HALF {
        return 1.0;
    }
    return v_scales[key] / largest;
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) own: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    if thread == 0u {
        shared_params = Params(
            params[0], params[1], params[2], params[3], params[4],
            params[5], params[6], params[7], bitcast<f32>(params[8]),
            SUBGROUPS / subgroups,
        );
    }
    let p = workgroupUniformLoad(&shared_params);
    let group_tile = group.y * groups.x + group.x;
    if group_tile >= p.tiles {
        return;
    }
    let head = group_tile / p.row_tiles; // a key head of all batches
    let first_row = group_tile % p.row_tiles * ROWS;
    let kv_start = head * p.kv_tokens;
    // LANES threads do what belongs to the rows of one subgroup, or of one role.
    let subgroup = thread / LANES;
    let lane = thread % LANES;

    // This lane's part of the softmax: every SHARE-th key of one row.
    let tile_row = lane / SHARE;
    let share = lane % SHARE;
    let row = min(first_row + subgroup * SIDE + tile_row, p.rows - 1u);
    let group_heads = p.rows / p.q_tokens;
    let mask_start = head / p.kv_heads * p.mask_batch_stride
        + (head % p.kv_heads * group_heads + row / p.q_tokens) * p.mask_head_stride
        + row % p.q_tokens * p.kv_tokens;
    var q_scale = 16.0 * p.scale;
    var v_scale = 16.0;
    if !HALF {
        q_scale = q_scales[head * p.rows + row] * p.scale;
        // The largest scale of a value: the weights take each value's scale relative to it.
        var largest = 0.0;
        for (var key = thread; key < p.kv_tokens; key += THREADS) {
            let scale = v_scales[kv_start + key];
            largest = select(max(largest, scale), scale, scale != scale); // a NaN stays
        }
        shared_lanes[thread] = largest;
        workgroupBarrier();
        for (var i = 0u; i < THREADS; i++) {
            let scale = shared_lanes[i];
            largest = select(max(largest, scale), scale, scale != scale);
        }
        v_scale = largest;
    }

    // Rows beyond the last belong to the next head, or to what follows the last; they are not written.
    var queries: array<Left, ROLES * PARTS>;
    for (var role = 0u; role < ROLES; role++) {
        if ROLES > 1u && role >= p.roles {
            break;
        }
        let role_row = head * p.rows + first_row + (own + role * subgroups) * SIDE;
        for (var part = 0u; part < PARTS; part++) {
            let start = role_row * 4u * HEAD_DIM4 + part * SIDE;
            queries[role * PARTS + part] = coopLoadT<Left>(&q[start], 4u * HEAD_DIM4);
        }
    }

    var sums: array<Sums, ROLES * PARTS>;
    var row_max = LOWEST; // what the weights are relative to
    var row_sum = 0.0; // of this lane's keys
    for (var first_key = 0u; first_key < p.kv_tokens; first_key += KEYS) {
        workgroupBarrier();
        if thread == 0u {
            rises = 0u;
        }
        // Beyond the last key it is staged again; its weight is zero there.
        for (var i = thread; i < KEYS * HEAD_DIM4; i += THREADS) {
            let key = min(first_key + i / HEAD_DIM4, p.kv_tokens - 1u);
            stage(i / HEAD_DIM4 * STRIDE + i % HEAD_DIM4 * 4u, k[(kv_start + key) * HEAD_DIM4 + i % HEAD_DIM4]);
        }
        workgroupBarrier();
        for (var role = 0u; role < ROLES; role++) {
            if ROLES > 1u && role >= p.roles {
                break;
            }
            for (var n = 0u; n < KEYS; n += SIDE) {
                var product: Sums;
                for (var part = 0u; part < PARTS; part++) {
                    let keys = coopLoad<Right>(&tile[n * STRIDE + part * SIDE], STRIDE);
                    product = coopMultiplyAdd(queries[role * PARTS + part], keys, product);
                }
                coopStoreT(product, &scores[(own + role * subgroups) * SCORES + n], KEYS);
            }
        }
        workgroupBarrier();
        for (var i = thread; i < KEYS * HEAD_DIM4; i += THREADS) {
            let key = min(first_key + i / HEAD_DIM4, p.kv_tokens - 1u);
            stage(i / HEAD_DIM4 * STRIDE + i % HEAD_DIM4 * 4u, v[(kv_start + key) * HEAD_DIM4 + i % HEAD_DIM4]);
        }

        // The last tile's keys beyond kv_tokens take no part.
        let keys = min(KEYS, p.kv_tokens - first_key);
        let row_scores = subgroup * SCORES + tile_row * KEYS;
        var lane_max = LOWEST;
        for (var key = share; key < keys; key += SHARE) {
            var score = scores[row_scores + key] * (q_scale * k_scale(kv_start + first_key + key));
            if MASKED {
                score += mask[mask_start + first_key + key];
            }
            scores[row_scores + key] = score;
            lane_max = max(lane_max, score);
        }
        shared_lanes[thread] = lane_max;
        workgroupBarrier();
        for (var i = 0u; i < SHARE; i++) {
            lane_max = max(lane_max, shared_lanes[subgroup * LANES + tile_row * SHARE + i]);
        }
        if lane_max > row_max + RISE {
            rises = 1u;
        }
        if workgroupUniformLoad(&rises) != 0u {
            let new_max = max(row_max, lane_max);
            let rescale = exp(row_max - new_max);
            row_max = new_max;
            row_sum *= rescale;
            factors[subgroup * SIDE + tile_row] = rescale;
            for (var part = 0u; part < PARTS; part++) {
                workgroupBarrier();
                for (var role = 0u; role < ROLES; role++) {
                    if ROLES > 1u && role >= p.roles {
                        break;
                    }
                    coopStoreT(sums[role * PARTS + part], &moved[(own + role * subgroups) * SIDE * SIDE], SIDE);
                }
                workgroupBarrier();
                for (var i = lane; i < SIDE * SIDE; i += LANES) {
                    moved[subgroup * SIDE * SIDE + i] *= factors[subgroup * SIDE + i / SIDE];
                }
                workgroupBarrier();
                for (var role = 0u; role < ROLES; role++) {
                    if ROLES > 1u && role >= p.roles {
                        break;
                    }
                    sums[role * PARTS + part] = coopLoadT<Sums>(&moved[(own + role * subgroups) * SIDE * SIDE], SIDE);
                }
            }
        }
        for (var key = share; key < KEYS; key += SHARE) {
            var weight = 0.0;
            if key < keys {
                weight = exp(scores[row_scores + key] - row_max);
                row_sum += weight;
                weight *= v_weight(kv_start + first_key + key, v_scale);
            }
            key_weights[row_scores + key] = f16(weight);
        }
        workgroupBarrier();
        for (var role = 0u; role < ROLES; role++) {
            if ROLES > 1u && role >= p.roles {
                break;
            }
            for (var n = 0u; n < KEYS; n += SIDE) {
                let left = coopLoadT<Left>(&key_weights[(own + role * subgroups) * SCORES + n], KEYS);
                for (var part = 0u; part < PARTS; part++) {
                    let values = coopLoadT<Right>(&tile[n * STRIDE + part * SIDE], STRIDE);
                    let at = role * PARTS + part;
                    sums[at] = coopMultiplyAdd(left, values, sums[at]);
                }
            }
        }
    }

    workgroupBarrier();
    shared_lanes[thread] = row_sum;
    workgroupBarrier();
    if share == 0u {
        var sum = 0.0;
        for (var i = 0u; i < SHARE; i++) {
            sum += shared_lanes[thread + i];
        }
        factors[subgroup * SIDE + tile_row] = v_scale / sum;
    }
    for (var part = 0u; part < PARTS; part++) {
        workgroupBarrier();
        for (var role = 0u; role < ROLES; role++) {
            if ROLES > 1u && role >= p.roles {
                break;
            }
            coopStoreT(sums[role * PARTS + part], &moved[(own + role * subgroups) * SIDE * SIDE], SIDE);
        }
        workgroupBarrier();
        for (var i = lane; i < SIDE * SIDE; i += LANES) {
            let tile_place = subgroup * SIDE + i / SIDE;
            let out_row = first_row + tile_place;
            if out_row < p.rows {
                var place = head * p.rows + out_row;
                if HALF {
                    let token = head / p.kv_heads * p.q_tokens + out_row % p.q_tokens;
                    place = (token * p.kv_heads + head % p.kv_heads) * group_heads + out_row / p.q_tokens;
                }
                out[place * 4u * HEAD_DIM4 + part * SIDE + i % SIDE] =
                    stored(moved[subgroup * SIDE * SIDE + i] * factors[tile_place]);
            }
        }
    }
}
