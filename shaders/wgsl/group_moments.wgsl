// Mean and variance of runs of values, a workgroup for a part of a run; a second launch joins the parts
// of each run. A sum of squares would lose a small variance beside a large mean: parts are held as
// count, mean and sum of squared deviations, joined as Chan, Golub and LeVeque do (1979).
//
// All buffers are read_write because two of them may be slices of one.

// Replaced at launch.
const JOIN: bool = false; // x holds parts, and out gets mean and variance

const THREADS: u32 = 256u;

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [runs, len], or [runs, parts, 3]
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // [runs, parts, 3], or [runs, 2]
@group(0) @binding(2) var<storage, read_write> params: array<u32>; // run's length, part's length, parts, workgroups

var<workgroup> parts: array<vec3<f32>, THREADS>; // count, mean, squared deviations

fn join(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    let count = a.x + b.x;
    if count == 0.0 {
        return a;
    }
    let apart = b.y - a.y;
    let share = b.x / count;
    return vec3<f32>(count, a.y + apart * share, a.z + b.z + apart * apart * share * a.x);
}

// This thread's share of the values from `start` to `end`.
fn of_values(start: u32, end: u32) -> vec3<f32> {
    if start >= end {
        return vec3<f32>();
    }
    var sum = 0.0;
    for (var i = start; i < end; i += THREADS) {
        sum += x[i];
    }
    let count = f32((end - start + THREADS - 1u) / THREADS);
    let mean = sum / count;
    var squares = 0.0;
    for (var i = start; i < end; i += THREADS) {
        squares += (x[i] - mean) * (x[i] - mean);
    }
    return vec3<f32>(count, mean, squares);
}

// This thread's share of the parts from `start` to `end`.
fn of_parts(start: u32, end: u32) -> vec3<f32> {
    var sum = vec3<f32>();
    for (var i = start; i < end; i += THREADS) {
        sum = join(sum, vec3<f32>(x[3u * i], x[3u * i + 1u], x[3u * i + 2u]));
    }
    return sum;
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.y * groups.x + group.x; // a part of a run, or a run
    let in_range = index < params[3];
    if JOIN {
        let start = index * params[2];
        parts[thread] = of_parts(start + thread, select(start, start + params[2], in_range));
    } else {
        let run = index / params[2] * params[0];
        let first = index % params[2] * params[1];
        let end = run + min(first + params[1], params[0]);
        parts[thread] = of_values(run + first + thread, select(0u, end, in_range));
    }
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if thread < step {
            parts[thread] = join(parts[thread], parts[thread + step]);
        }
    }
    if thread == 0u && in_range {
        let all = parts[0];
        if JOIN {
            out[2u * index] = all.y;
            out[2u * index + 1u] = all.z / all.x;
        } else {
            out[3u * index] = all.x;
            out[3u * index + 1u] = all.y;
            out[3u * index + 2u] = all.z;
        }
    }
}
