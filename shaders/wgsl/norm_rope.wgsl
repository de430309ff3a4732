// RMSNorm of every head of queries or keys, rotation of neighbouring channels, and the change of
// places of heads and tokens, out of one projection or two whose tokens follow each other.
//
// A workgroup owns 16 heads of tokens, each with 16 lanes. All buffers are read_write because two of
// them may be slices of one. Rows beyond the last one do it again and write nothing: Tint refuses a
// barrier after an early return.
//
// Parts: stored.wgsl.

// Replaced at launch.
const JOINT: bool = true; // reads `more` behind the tokens of `x`
const PLAIN: bool = false; // changes the places alone, as for values: no norm, no rotation

const THREADS: u32 = 256u;
const LANES: u32 = 16u;
const ROWS: u32 = THREADS / LANES;

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [batch, x tokens, heads, head_dim], strided tokens
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // [head_dim]
@group(0) @binding(2) var<storage, read_write> more: array<f32>; // [batch, more tokens, heads, head_dim], likewise
@group(0) @binding(3) var<storage, read_write> more_weight: array<f32>; // [head_dim]
@group(0) @binding(4) var<storage, read_write> cos_: array<f32>; // [tokens, head_dim]
@group(0) @binding(5) var<storage, read_write> sin_: array<f32>; // [tokens, head_dim]
@group(0) @binding(6) var<storage, read_write> out: array<Element>; // [batch, heads, tokens, head_dim]
// rows, heads, tokens, x tokens, head_dim, elements between the tokens of x and of more, eps
@group(0) @binding(7) var<storage, read_write> params: array<u32>;

var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let rows = params[0];
    let heads = params[1];
    let tokens = params[2];
    let x_tokens = params[3];
    let head_dim = params[4];
    let wanted = (group.y * groups.x + group.x) * ROWS + thread / LANES;
    let row = min(wanted, rows - 1u);
    let lane = thread % LANES;
    let token = row % tokens;
    let head = row / tokens % heads;
    let batch = row / tokens / heads;
    let is_more = JOINT && token >= x_tokens;
    var start = (batch * x_tokens + token) * params[5] + head * head_dim;
    if is_more {
        start = (batch * (tokens - x_tokens) + token - x_tokens) * params[6] + head * head_dim;
    }

    var squares = 0.0;
    for (var i = lane; i < head_dim; i += LANES) {
        var value = 0.0;
        if is_more {
            value = more[start + i];
        } else {
            value = x[start + i];
        }
        squares += value * value;
    }
    sums[thread] = squares;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < LANES; i++) {
        sum += sums[thread - lane + i];
    }
    let root = 1.0 / sqrt(sum / f32(head_dim) + bitcast<f32>(params[7]));
    if wanted >= rows {
        return;
    }
    for (var i = 2u * lane; i < head_dim; i += 2u * LANES) {
        var even = 0.0;
        var odd = 0.0;
        if is_more {
            even = more[start + i];
            odd = more[start + i + 1u];
        } else {
            even = x[start + i];
            odd = x[start + i + 1u];
        }
        let place = row * head_dim + i;
        if PLAIN {
            out[place] = stored(even);
            out[place + 1u] = stored(odd);
            continue;
        }
        if is_more {
            even = even * root * more_weight[i];
            odd = odd * root * more_weight[i + 1u];
        } else {
            even = even * root * weight[i];
            odd = odd * root * weight[i + 1u];
        }
        let angle = token * head_dim + i;
        out[place] = stored(even * cos_[angle] - odd * sin_[angle]);
        out[place + 1u] = stored(odd * cos_[angle + 1u] + even * sin_[angle + 1u]);
    }
}
