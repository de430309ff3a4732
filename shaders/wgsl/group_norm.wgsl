// activation((x - mean) / sqrt(variance + eps) * weight + bias) over groups of channels, one thread a
// value. It reads and writes once what a composition of plain operations would six times.
//
// All buffers are read_write because two of them may be slices of one.

// Replaced at launch.
const SILU: bool = true;

const THREADS: u32 = 256u;
const HIGHEST: f32 = 80.0; // e^80 is finite, and 1 / e^80 nothing beside 1

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [batch, channels, pixels]
@group(0) @binding(1) var<storage, read_write> moments: array<vec2<f32>>; // [batch, groups]: mean, variance
@group(0) @binding(2) var<storage, read_write> weight: array<f32>; // [channels]
@group(0) @binding(3) var<storage, read_write> bias: array<f32>; // [channels]
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // as x
@group(0) @binding(5) var<storage, read_write> params: array<u32>; // values, channels, pixels, channels of a group, eps

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * THREADS + thread;
    if index >= params[0] {
        return;
    }
    let plane = index / params[2];
    let channel = plane % params[1];
    let moment = moments[plane / params[3]];
    let slope = weight[channel] / sqrt(moment.y + bitcast<f32>(params[4]));
    var value = (x[index] - moment.x) * slope + bias[channel];
    if SILU {
        value /= 1.0 + exp(min(-value, HIGHEST));
    }
    out[index] = value;
}
