// A convolution as a product on cooperative matrices: tensor cores, or what a driver has for them. Pixels and
// weights are f16, sums f32. A workgroup of eight subgroups makes ROWS by SIDE pixels of OUTPUTS channels, a
// subgroup DOWN by ACROSS matrices of them. A matrix has SIDE pixels of a row and SIDE channels. Where the driver
// chooses among sizes of subgroups, one finds out by itself whose work it has to do.
//
// The window of the picture that these pixels see lies in workgroup memory, CHUNK channels at a time. All taps of
// the kernel read it there: a tap's matrix begins at another pixel. The weights of a row of the kernel lie beside
// it. While they are multiplied, the next ones are on their way to registers.
//
// A pixel becomes f16 times a power of two, the same for the whole window. It rises with the largest number so
// far, and then the sums are made smaller, so that nothing overflows. A number that is not finite stays what it is.
//
// naga loads a matrix column by column with coopLoad, row by row with coopLoadT. All buffers are read_write
// because two of them may be slices of one.

enable f16;
enable wgpu_cooperative_matrix;

// Replaced at launch.
const KERNEL: u32 = 3u; // rows and columns of the kernel
const STEP: u32 = 1u; // from an output to the next one
const DOUBLINGS: u32 = 0u; // 1 where each pixel becomes 2 x 2 first
const CHUNK: u32 = 16u; // channels at a time
const LANES: u32 = 32u; // of the smallest subgroup
const ROLES: u32 = 1u; // lanes of the largest subgroup / LANES: a larger one does the work of several
const SIDE: u32 = 16u; // of a matrix, of which CHUNK is a multiple
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
const DOWN: u32 = 4u; // matrices of a subgroup along the rows of the picture
const ACROSS: u32 = 2u; // and along the output channels
const SUBGROUPS_DOWN: u32 = 2u;
const SUBGROUPS_ACROSS: u32 = 4u;

const SUBGROUPS: u32 = SUBGROUPS_DOWN * SUBGROUPS_ACROSS;
const THREADS: u32 = SUBGROUPS * LANES;
const ROWS: u32 = SUBGROUPS_DOWN * DOWN; // of outputs
const OUTPUTS: u32 = SUBGROUPS_ACROSS * ACROSS * SIDE; // channels
const WINDOW_WIDTH: u32 = (SIDE - 1u) * STEP + KERNEL;
const WINDOW: u32 = ((ROWS - 1u) * STEP + KERNEL) * WINDOW_WIDTH; // pixels
const STRIDE: u32 = CHUNK + 8u; // apart from banks
const TAPS4: u32 = KERNEL * CHUNK / 4u; // vec4 of weights of a row of the kernel
const WEIGHT_STRIDE: u32 = 4u * TAPS4 + 8u;
const PIXEL_QUADS: u32 = WINDOW * CHUNK / 4u;
const OWN_PIXELS: u32 = (PIXEL_QUADS + THREADS - 1u) / THREADS; // quads of a thread
const WEIGHT_QUADS: u32 = OUTPUTS * TAPS4;
const OWN_WEIGHTS: u32 = (WEIGHT_QUADS + THREADS - 1u) / THREADS;
const OUTSIDE: u32 = 0xffffffffu;
const HEADROOM: u32 = 5u; // doublings from 512..1024 to f16's largest numbers

struct Params {
    channels: u32, // of x
    outputs: u32,
    chunks: u32, // of channels
    height: u32, // of x
    width: u32,
    out_height: u32,
    out_width: u32,
    zeros: u32, // above the picture and left of it
    tiles_down: u32,
    tiles_across: u32,
    output_tiles: u32,
    tiles: u32,
    roles: u32, // of a subgroup here
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [batch, channels, height, width]
@group(0) @binding(1) var<storage, read_write> weights: array<vec4<f16>>; // [outputs, chunks, KERNEL, KERNEL, CHUNK]
@group(0) @binding(2) var<storage, read_write> scales: array<f32>; // [outputs], of the weights
@group(0) @binding(3) var<storage, read_write> bias: array<f32>; // [outputs]
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // [batch, outputs, out_height, out_width]
@group(0) @binding(5) var<storage, read_write> params: array<u32>; // the fields of Params

var<workgroup> shared_params: Params;
var<workgroup> window: array<f16, WINDOW * STRIDE>; // [WINDOW, STRIDE]
var<workgroup> weight_tile: array<f16, OUTPUTS * WEIGHT_STRIDE>; // [OUTPUTS, WEIGHT_STRIDE]
var<workgroup> finished: array<f32, SUBGROUPS * SIDE * SIDE>; // a matrix of each subgroup
var<workgroup> risen: atomic<u32>; // bits of the largest magnitude, where that is too large for the scale

// Four channels of a pixel of the window, zero outside of the picture; `place` is that of the first channel.
fn pixels(p: Params, place: u32, channel: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if place != OUTSIDE {
        for (var c = 0u; c < 4u; c++) {
            if channel + c < p.channels {
                quad[c] = x[place + (channel + c) * p.height * p.width];
            }
        }
    }
    return quad;
}

// Bits of the largest finite magnitude, which are ordered as the magnitudes are.
fn largest(quads: array<vec4<f32>, OWN_PIXELS>) -> u32 {
    var bits = vec4<u32>();
    for (var i = 0u; i < OWN_PIXELS; i++) {
        let magnitude = bitcast<vec4<u32>>(quads[i]) & vec4<u32>(0x7fffffffu);
        bits = max(bits, select(magnitude, vec4<u32>(), magnitude >= vec4<u32>(0x7f800000u)));
    }
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    if thread == 0u {
        shared_params = Params(
            params[0], params[1], params[2], params[3], params[4], params[5],
            params[6], params[7], params[8], params[9], params[10], params[11],
            SUBGROUPS / subgroups,
        );
        atomicStore(&risen, 0u);
    }
    let p = workgroupUniformLoad(&shared_params);
    let tile = group.y * groups.x + group.x;
    if tile >= p.tiles {
        return;
    }
    let first_output = tile % p.output_tiles * OUTPUTS;
    let picture_tile = tile / p.output_tiles;
    let first_x = picture_tile % p.tiles_across * SIDE;
    let first_y = picture_tile / p.tiles_across % p.tiles_down * ROWS;
    let batch = picture_tile / p.tiles_across / p.tiles_down;
    // LANES threads finish what one subgroup, or a role of one, has summed up.
    let finisher = thread / LANES;
    let lane = thread % LANES;

    // Where this thread's part of the window lies. Above the picture and left of it places wrap to large ones.
    var places: array<u32, OWN_PIXELS>;
    var next_pixels: array<vec4<f32>, OWN_PIXELS>;
    for (var i = 0u; i < OWN_PIXELS; i++) {
        let index = thread + i * THREADS;
        let y = first_y * STEP - p.zeros + index % WINDOW / WINDOW_WIDTH;
        let column = first_x * STEP - p.zeros + index % WINDOW % WINDOW_WIDTH;
        let inside = y < p.height << DOUBLINGS && column < p.width << DOUBLINGS && index < PIXEL_QUADS;
        let plane = batch * p.channels * p.height * p.width;
        places[i] = select(OUTSIDE, plane + (y >> DOUBLINGS) * p.width + (column >> DOUBLINGS), inside);
        next_pixels[i] = pixels(p, places[i], index / WINDOW * 4u);
    }
    // Beyond the edge the last output's weights are staged again; what they give is not written.
    var rows: array<u32, OWN_WEIGHTS>;
    var next_weights: array<vec4<f16>, OWN_WEIGHTS>;
    for (var i = 0u; i < OWN_WEIGHTS; i++) {
        let index = thread + i * THREADS;
        let output = min(first_output + index / TAPS4, p.outputs - 1u);
        rows[i] = output * p.chunks * KERNEL * TAPS4 + index % TAPS4;
        next_weights[i] = weights[rows[i]];
    }
    var exponent = 19u; // a pixel is its f16 times 2 to the power of it, less 127 and 9
    atomicMax(&risen, largest(next_pixels));
    exponent = max(exponent, workgroupUniformLoad(&risen) >> 23u);

    var sums: array<Sums, ROLES * DOWN * ACROSS>;
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        let inverse = bitcast<f32>((263u - exponent) << 23u);
        for (var i = 0u; i < OWN_PIXELS; i++) {
            let index = thread + i * THREADS;
            let quad = vec4<f16>(next_pixels[i] * inverse);
            if index < PIXEL_QUADS {
                for (var c = 0u; c < 4u; c++) {
                    window[index % WINDOW * STRIDE + index / WINDOW * 4u + c] = quad[c];
                }
            }
        }
        if thread == 0u {
            atomicStore(&risen, 0u);
        }
        for (var dy = 0u; dy < KERNEL; dy++) {
            workgroupBarrier();
            for (var i = 0u; i < OWN_WEIGHTS; i++) {
                let index = thread + i * THREADS;
                if index < WEIGHT_QUADS {
                    for (var c = 0u; c < 4u; c++) {
                        weight_tile[index / TAPS4 * WEIGHT_STRIDE + index % TAPS4 * 4u + c] = next_weights[i][c];
                    }
                }
            }
            workgroupBarrier();
            let next = min(chunk * KERNEL + dy + 1u, p.chunks * KERNEL - 1u); // the last is read again
            for (var i = 0u; i < OWN_WEIGHTS; i++) {
                next_weights[i] = weights[rows[i] + next * TAPS4];
            }
            if dy == 0u {
                let next = min(chunk + 1u, p.chunks - 1u);
                for (var i = 0u; i < OWN_PIXELS; i++) {
                    let channel = next * CHUNK + (thread + i * THREADS) / WINDOW * 4u;
                    next_pixels[i] = pixels(p, places[i], channel);
                }
            }
            for (var role = 0u; role < ROLES; role++) {
                if ROLES > 1u && role >= p.roles {
                    break;
                }
                let part = subgroup + role * subgroups;
                let part_y = part / SUBGROUPS_ACROSS * DOWN;
                let part_output = part % SUBGROUPS_ACROSS * ACROSS * SIDE;
                for (var k = 0u; k < KERNEL * CHUNK; k += SIDE) {
                    var right: array<Right, ACROSS>;
                    for (var a = 0u; a < ACROSS; a++) {
                        let at = (part_output + a * SIDE) * WEIGHT_STRIDE + k;
                        right[a] = coopLoad<Right>(&weight_tile[at], WEIGHT_STRIDE);
                    }
                    for (var d = 0u; d < DOWN; d++) {
                        let pixel = ((part_y + d) * STEP + dy) * WINDOW_WIDTH + k / CHUNK;
                        let left = coopLoadT<Left>(&window[pixel * STRIDE + k % CHUNK], STEP * STRIDE);
                        for (var a = 0u; a < ACROSS; a++) {
                            let at = (role * DOWN + d) * ACROSS + a;
                            sums[at] = coopMultiplyAdd(left, right[a], sums[at]);
                        }
                    }
                }
            }
        }
        let bits = largest(next_pixels);
        if bits >> 23u > exponent + HEADROOM {
            atomicMax(&risen, bits);
        }
        let rise = workgroupUniformLoad(&risen);
        if rise != 0u {
            let shrink = bitcast<f32>((127u - min((rise >> 23u) - exponent, 126u)) << 23u);
            exponent = rise >> 23u;
            for (var s = 0u; s < ROLES * DOWN * ACROSS; s++) {
                let place = (subgroup + s / (DOWN * ACROSS) * subgroups) % SUBGROUPS * SIDE * SIDE;
                workgroupBarrier();
                coopStore(sums[s], &finished[place], SIDE);
                workgroupBarrier();
                for (var i = lane; i < SIDE * SIDE; i += LANES) {
                    finished[finisher * SIDE * SIDE + i] *= shrink;
                }
                workgroupBarrier();
                sums[s] = coopLoad<Sums>(&finished[place], SIDE);
            }
        }
    }

    let scale = bitcast<f32>((exponent - 9u) << 23u);
    for (var d = 0u; d < DOWN; d++) {
        for (var a = 0u; a < ACROSS; a++) {
            workgroupBarrier();
            for (var role = 0u; role < ROLES; role++) {
                if ROLES > 1u && role >= p.roles {
                    break;
                }
                let place = (subgroup + role * subgroups) * SIDE * SIDE;
                coopStore(sums[(role * DOWN + d) * ACROSS + a], &finished[place], SIDE);
            }
            workgroupBarrier();
            for (var i = lane; i < SIDE * SIDE; i += LANES) {
                let output = first_output + (finisher % SUBGROUPS_ACROSS * ACROSS + a) * SIDE + i / SIDE;
                let y = first_y + finisher / SUBGROUPS_ACROSS * DOWN + d;
                let column = first_x + i % SIDE;
                if output < p.outputs && y < p.out_height && column < p.out_width {
                    let value = finished[finisher * SIDE * SIDE + i] * scales[output] * scale + bias[output];
                    out[((batch * p.outputs + output) * p.out_height + y) * p.out_width + column] = value;
                }
            }
        }
    }
}
