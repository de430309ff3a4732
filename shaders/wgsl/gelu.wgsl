// GELU in its tanh form as x · sigmoid(2u), behind the channels of another tensor where there are any.
//
// All buffers are read_write because two of them may be slices of one.

// Replaced at launch.
const AFTER: bool = true; // `left` comes before the result

const THREADS: u32 = 256u;
const TWICE_SQRT_2_OVER_PI: f32 = 1.595769;
const CUBIC: f32 = 0.044715;

@group(0) @binding(0) var<storage, read_write> left: array<f32>; // [rows, left_width], strided rows
@group(0) @binding(1) var<storage, read_write> right: array<f32>; // [rows, right width], likewise
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [rows, width]
// elements of out, width, left_width, elements between the rows of left and of right
@group(0) @binding(3) var<storage, read_write> params: array<u32>;

fn gelu(x: f32) -> f32 {
    let z = x * (TWICE_SQRT_2_OVER_PI + TWICE_SQRT_2_OVER_PI * CUBIC * x * x);
    // sigmoid(z) from e^-|z|, which can't overflow.
    let e = exp(-abs(z));
    return x * (select(1.0, e, z < 0.0) / (1.0 + e));
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let place = (group.y * groups.x + group.x) * THREADS + thread;
    if place >= params[0] {
        return;
    }
    let row = place / params[1];
    let column = place % params[1];
    let left_width = params[2];
    if AFTER && column < left_width {
        out[place] = left[row * params[3] + column];
        return;
    }
    out[place] = gelu(right[row * params[4] + column - left_width]);
}
