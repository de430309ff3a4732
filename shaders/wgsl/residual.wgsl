// x + gate · y with one gate for all tokens of a batch.
//
// All buffers are read_write because two of them may be slices of one.

const THREADS: u32 = 256u;

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [batch, tokens, width]
@group(0) @binding(1) var<storage, read_write> gate: array<f32>; // [batch, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // as x
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // as x
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // elements of x, tokens, width

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
    let width = params[2];
    let batch = place / width / params[1];
    out[place] = x[place] + gate[batch * width + place % width] * y[place];
}
