// Rows of f32 as f16 times a power of two: the inputs of a product on cooperative matrices. A row's scale puts
// its largest magnitude between 512 and 1024, far from f16's largest number and from its denormals, so that no
// input overflows. A row that holds a number that is not finite gets a NaN for its scale.
//
// A workgroup makes one row, which zeros fill up to the width of `out`.

enable f16;

// Replaced at launch.
const THREADS: u32 = 256u;
const RAGGED: bool = false; // the width of x is no multiple of 4

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [m, cols / 4]
@group(0) @binding(1) var<storage, read_write> numbers: array<f32>; // the same, where RAGGED
@group(0) @binding(2) var<storage, read_write> scales: array<f32>; // [m]; a number is its f16 times the scale
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f16>>; // [m, out_cols4]
@group(0) @binding(4) var<storage, read_write> params: array<u32>; // m, cols, out_cols4

var<workgroup> largest: array<u32, THREADS>; // bits of magnitudes, which are ordered as the magnitudes are

// Four numbers of a row of `cols`; zeros beyond it.
fn quad(row: u32, cols: u32, at: u32) -> vec4<f32> {
    var values = vec4<f32>();
    if !RAGGED {
        if at < cols / 4u {
            values = x[row * (cols / 4u) + at];
        }
        return values;
    }
    for (var c = 0u; c < 4u; c++) {
        if 4u * at + c < cols {
            values[c] = numbers[row * cols + 4u * at + c];
        }
    }
    return values;
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let m = params[0];
    let cols = params[1];
    let out_cols4 = params[2];
    let row = min(group.y * groups.x + group.x, m - 1u); // the last row may be made twice
    var bits = 0u;
    for (var i = thread; i < out_cols4; i += THREADS) {
        let magnitudes = bitcast<vec4<u32>>(quad(row, cols, i)) & vec4<u32>(0x7fffffffu);
        bits = max(bits, max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w)));
    }
    largest[thread] = bits;
    for (var apart = THREADS / 2u; apart > 0u; apart /= 2u) {
        workgroupBarrier();
        if thread < apart {
            largest[thread] = max(largest[thread], largest[thread + apart]);
        }
    }
    workgroupBarrier();
    let exponent = clamp(largest[0] >> 23u, 19u, 255u);
    // 2 to the power of the exponent minus 9, and its inverse.
    let scale = bitcast<f32>((exponent - 9u) << 23u);
    let inverse = bitcast<f32>((263u - min(exponent, 254u)) << 23u);
    if thread == 0u {
        // An exponent of 255 is that of infinity and NaN.
        scales[row] = select(scale, bitcast<f32>(0x7fc00000u | (row & 0u)), exponent == 255u);
    }
    for (var i = thread; i < out_cols4; i += THREADS) {
        out[row * out_cols4 + i] = vec4<f16>(quad(row, cols, i) * inverse);
    }
}
