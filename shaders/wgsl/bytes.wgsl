// Rows of f32 as signed bytes with a scale for every 32: the inputs of a product of whole numbers. A scale makes
// the largest magnitude 127. It is NaN where a number is not finite, so that the rounding does not hide it.
//
// A thread makes 32 numbers.

const THREADS: u32 = 256u;

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [m, cols / 4]
@group(0) @binding(1) var<storage, read_write> out: array<u32>; // [m, cols / 4]
@group(0) @binding(2) var<storage, read_write> scales: array<vec2<f32>>; // [m, cols / 32]: scale, sum of the 32 numbers
@group(0) @binding(3) var<storage, read_write> params: array<u32>; // m * cols / 32

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = (workgroup.y * workgroups.x + workgroup.x) * THREADS + thread;
    if group >= params[0] {
        return;
    }
    var largest = vec4<u32>(); // bits of magnitudes, which are ordered as the magnitudes are
    for (var i = 0u; i < 8u; i++) {
        largest = max(largest, bitcast<vec4<u32>>(x[8u * group + i]) & vec4<u32>(0x7fffffffu));
    }
    let bits = max(max(largest.x, largest.y), max(largest.z, largest.w));
    let magnitude = bitcast<f32>(bits);
    let scale = magnitude / 127.0;
    // Below that, a scale may be taken for zero.
    let inverse = select(0.0, 127.0 / magnitude, magnitude > 1e-35);
    var sum = 0;
    for (var i = 0u; i < 8u; i++) {
        let numbers = vec4<i32>(round(clamp(x[8u * group + i] * inverse, vec4<f32>(-127.0), vec4<f32>(127.0))));
        sum += numbers.x + numbers.y + numbers.z + numbers.w;
        let bytes = bitcast<vec4<u32>>(numbers) & vec4<u32>(255u);
        out[8u * group + i] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
    }
    // An exponent of 255 is that of infinity and NaN.
    let poison = vec2<f32>(bitcast<f32>(0x7fc00000u | (group & 0u)));
    scales[group] = select(vec2<f32>(scale, scale * f32(sum)), poison, bits >= 0x7f800000u);
}
