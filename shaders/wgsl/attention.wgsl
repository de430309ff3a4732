// Flash attention forward (Dao et al. 2022): softmax(q kᵀ · scale + mask) v with an online softmax,
// so that the score matrix exists only as one tile in workgroup memory.
//
// A workgroup owns a tile of query rows of ONE key head: the query heads that share it follow each
// other in memory and are read as rows of one matrix. Both products are blocked like a matmul: 16 by
// 16 threads, each with ROW_GROUP rows by 2 keys of the scores and ROW_GROUP rows by COLUMN_GROUPS
// vec4 columns of the output in registers. 15.3 KiB of workgroup memory, within WebGPU's default.
//
// Reasons for what looks odd: all buffers are read_write because two of them may be slices of one;
// what bounds a loop with a barrier comes through workgroupUniformLoad, or Tint rejects the barrier;
// long loops have bounds from memory, because lavapipe unrolls constant ones for minutes; a variable of
// a loop is set to zero in words, because Chromium on SwiftShader keeps the last round's value.

// Replaced at launch.
const HEAD_DIM4: u32 = 32u; // head_dim / 4, at most 64
const ROW_GROUP: u32 = 4u; // query rows of a thread: 4, or 1 where there are few rows
const MASKED: bool = true;
alias Element = f32; // of all tensors: f32, or f16 where the device has it; sums are f32

const THREADS: u32 = 256u;
const SIDE: u32 = 16u; // threads along either side of a tile
const ROWS: u32 = SIDE * ROW_GROUP; // query rows of a workgroup
const KEYS: u32 = 32u; // keys of a tile
const PITCH: u32 = KEYS + 4u; // keeps the rows of a tile in different banks
const CHUNK4: u32 = 4u; // vec4 of head_dim staged at a time for the scores
const COLUMN_GROUPS: u32 = (HEAD_DIM4 + SIDE - 1u) / SIDE;
const LANES: u32 = THREADS / ROWS; // threads that share the softmax of a row
const STAGE: u32 = 384u;
const KEY_STAGE: u32 = ROWS * CHUNK4; // where the keys start in `stage`
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
    head_dim4: u32, // HEAD_DIM4, but unknown to the compiler
    scale: f32,
}

@group(0) @binding(0) var<storage, read_write> q: array<vec4<Element>>; // [batch * kv_heads, rows, HEAD_DIM4]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<Element>>; // [batch * kv_heads, kv_tokens, HEAD_DIM4]
@group(0) @binding(2) var<storage, read_write> v: array<vec4<Element>>; // as k
@group(0) @binding(3) var<storage, read_write> mask: array<Element>; // [1 | batch, 1 | heads, q_tokens, kv_tokens]
@group(0) @binding(4) var<storage, read_write> out: array<vec4<Element>>; // as q
@group(0) @binding(5) var<storage, read_write> params: array<u32>; // the fields of Params

var<workgroup> shared_params: Params;
var<workgroup> stage: array<vec4<f32>, STAGE>; // queries and keys, then values, then reductions
var<workgroup> scores: array<f32, ROWS * PITCH>; // [ROWS, PITCH]: scores, then their exponentials
var<workgroup> row_factors: array<f32, ROWS>;

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    if thread == 0u {
        shared_params = Params(
            params[0], params[1], params[2], params[3], params[4],
            params[5], params[6], params[7], params[8], bitcast<f32>(params[9]),
        );
    }
    let p = workgroupUniformLoad(&shared_params);
    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {
        return;
    }
    let head = tile / p.row_tiles; // a key head of all batches
    let first_row = tile % p.row_tiles * ROWS;
    let q_start = head * p.rows * HEAD_DIM4;
    let kv_start = head * p.kv_tokens * HEAD_DIM4;

    // This thread's part of the products.
    let tile_row = thread / SIDE * ROW_GROUP;
    let column = thread % SIDE;
    // Its part of the softmax: every LANES-th key of one row.
    let softmax_row = thread / LANES;
    let lane = thread % LANES;
    let row = min(first_row + softmax_row, p.rows - 1u);
    let group_heads = p.rows / p.q_tokens;
    let mask_start = head / p.kv_heads * p.mask_batch_stride
        + (head % p.kv_heads * group_heads + row / p.q_tokens) * p.mask_head_stride
        + row % p.q_tokens * p.kv_tokens;

    var acc: array<vec4<f32>, ROW_GROUP * COLUMN_GROUPS>;
    var row_max = LOWEST;
    var row_sum = 0.0; // of this lane's keys
    for (var first_key = 0u; first_key < p.kv_tokens; first_key += KEYS) {
        // Scores of the tile, CHUNK4 columns at a time.
        var near = array<f32, ROW_GROUP>(); // key `column`
        var far = array<f32, ROW_GROUP>(); // key `column + SIDE`
        for (var chunk = 0u; chunk < p.head_dim4; chunk += CHUNK4) {
            workgroupBarrier();
            let staged = thread / CHUNK4;
            let quad = chunk + thread % CHUNK4;
            let in_head = quad < HEAD_DIM4;
            if staged < ROWS {
                let source = min(first_row + staged, p.rows - 1u) * HEAD_DIM4 + min(quad, HEAD_DIM4 - 1u);
                stage[thread % CHUNK4 * ROWS + staged] =
                    select(vec4<f32>(), vec4<f32>(q[q_start + source]) * p.scale, in_head);
            }
            if staged < KEYS {
                let source = min(first_key + staged, p.kv_tokens - 1u) * HEAD_DIM4 + min(quad, HEAD_DIM4 - 1u);
                stage[KEY_STAGE + thread % CHUNK4 * KEYS + staged] =
                    select(vec4<f32>(), vec4<f32>(k[kv_start + source]), in_head);
            }
            workgroupBarrier();
            for (var i = 0u; i < CHUNK4; i++) {
                let near_key = stage[KEY_STAGE + i * KEYS + column];
                let far_key = stage[KEY_STAGE + i * KEYS + column + SIDE];
                for (var r = 0u; r < ROW_GROUP; r++) {
                    let query = stage[i * ROWS + tile_row + r];
                    near[r] += dot(query, near_key);
                    far[r] += dot(query, far_key);
                }
            }
        }
        for (var r = 0u; r < ROW_GROUP; r++) {
            scores[(tile_row + r) * PITCH + column] = near[r];
            scores[(tile_row + r) * PITCH + column + SIDE] = far[r];
        }
        workgroupBarrier();

        // Online softmax. The last tile's keys beyond kv_tokens take no part.
        let keys = min(KEYS, p.kv_tokens - first_key);
        var lane_max = LOWEST;
        for (var key = lane; key < keys; key += LANES) {
            var score = scores[softmax_row * PITCH + key];
            if MASKED {
                score += max(f32(mask[mask_start + first_key + key]), LOWEST); // f16 has minus infinity for it
                scores[softmax_row * PITCH + key] = score;
            }
            lane_max = max(lane_max, score);
        }
        stage[thread].x = lane_max;
        workgroupBarrier();
        var new_max = row_max;
        for (var i = 0u; i < LANES; i++) {
            new_max = max(new_max, stage[softmax_row * LANES + i].x);
        }
        let rescale = exp(row_max - new_max);
        row_max = new_max;
        row_sum *= rescale;
        for (var key = lane; key < keys; key += LANES) {
            let weight = exp(scores[softmax_row * PITCH + key] - row_max);
            scores[softmax_row * PITCH + key] = weight;
            row_sum += weight;
        }
        if lane == 0u {
            row_factors[softmax_row] = rescale;
        }
        workgroupBarrier();

        // Weights times values, as many value rows at a time as fit.
        for (var r = 0u; r < ROW_GROUP; r++) {
            for (var c = 0u; c < COLUMN_GROUPS; c++) {
                acc[r * COLUMN_GROUPS + c] *= row_factors[tile_row + r];
            }
        }
        let stage_keys = STAGE / p.head_dim4;
        for (var stage_key = 0u; stage_key < keys; stage_key += stage_keys) {
            workgroupBarrier();
            let staged = min(stage_keys, keys - stage_key);
            let source = kv_start + (first_key + stage_key) * HEAD_DIM4;
            for (var i = thread; i < staged * HEAD_DIM4; i += THREADS) {
                stage[i] = vec4<f32>(v[source + i]);
            }
            workgroupBarrier();
            for (var key = 0u; key < staged; key++) {
                for (var c = 0u; c < COLUMN_GROUPS; c++) {
                    let value = stage[key * HEAD_DIM4 + min(column + c * SIDE, HEAD_DIM4 - 1u)];
                    for (var r = 0u; r < ROW_GROUP; r++) {
                        acc[r * COLUMN_GROUPS + c] +=
                            scores[(tile_row + r) * PITCH + stage_key + key] * value;
                    }
                }
            }
        }
    }

    // Sum of every row over its lanes.
    workgroupBarrier();
    stage[thread].x = row_sum;
    workgroupBarrier();
    if lane == 0u {
        var sum = 0.0;
        for (var i = 0u; i < LANES; i++) {
            sum += stage[thread + i].x;
        }
        row_factors[softmax_row] = 1.0 / sum;
    }
    workgroupBarrier();
    for (var r = 0u; r < ROW_GROUP; r++) {
        for (var c = 0u; c < COLUMN_GROUPS; c++) {
            let quad = column + c * SIDE;
            if first_row + tile_row + r < p.rows && quad < HEAD_DIM4 {
                out[q_start + (first_row + tile_row + r) * HEAD_DIM4 + quad] =
                    vec4<Element>(acc[r * COLUMN_GROUPS + c] * row_factors[tile_row + r]);
            }
        }
    }
}
