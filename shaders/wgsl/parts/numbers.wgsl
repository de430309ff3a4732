// What the words of a weight hold. The shader has the constants of its layout, and `table` with the numbers of TABLE.

// Four floats of 8 bits. Those below the smallest exponent are made by a subtraction: an adapter may take an
// f32 that is as small for zero.
fn floats(word: u32) -> vec4<f32> {
    let bytes = vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u);
    let magnitude = bytes & vec4<u32>(127u);
    let mantissa = magnitude << vec4<u32>(16u + EXPONENT);
    let least = (128u - (1u << EXPONENT) / 2u) << 23u; // the difference of the biases
    let step = 1u << 23u;
    let small = bitcast<vec4<f32>>(mantissa + vec4<u32>(least + step)) - vec4<f32>(bitcast<f32>(least + step));
    var values = bitcast<vec4<u32>>(small);
    values = select(values, mantissa + vec4<u32>(least), magnitude >= vec4<u32>(1u << (7u - EXPONENT % 8u)));
    // With 4 bits of exponent the largest number alone is none, with 5 all of the largest exponent.
    let most = 127u - EXPONENT / 5u * 3u;
    values = select(values, mantissa | vec4<u32>(255u << 23u), magnitude >= vec4<u32>(most));
    return bitcast<vec4<f32>>(values | ((bytes & vec4<u32>(128u)) << vec4<u32>(24u)));
}

// Four floats of 16 bits: the upper half of an f32, or with 5 bits of exponent f16, whose smallest numbers are made
// as those of 8 bits are.
fn halves(first: u32, second: u32) -> vec4<f32> {
    let bits = vec4<u32>(first << 16u, first & 0xffff0000u, second << 16u, second & 0xffff0000u);
    if EXPONENT == 8u {
        return bitcast<vec4<f32>>(bits);
    }
    let magnitude = (bits & vec4<u32>(0x7fff0000u)) >> vec4<u32>(3u);
    let least = 112u << 23u; // the difference of the biases
    let step = 1u << 23u;
    let small = bitcast<vec4<f32>>(magnitude + vec4<u32>(least + step)) - vec4<f32>(bitcast<f32>(least + step));
    var values = bitcast<vec4<u32>>(small);
    values = select(values, magnitude + vec4<u32>(least), magnitude >= vec4<u32>(step));
    values = select(values, magnitude | vec4<u32>(255u << 23u), magnitude >= vec4<u32>(31u * step));
    return bitcast<vec4<f32>>(values | (bits & vec4<u32>(0x80000000u)));
}

// The numbers that nibbles stand for.
fn numbers(nibbles: vec4<u32>) -> vec4<f32> {
    if TABLED {
        return vec4<f32>(table[nibbles.x], table[nibbles.y], table[nibbles.z], table[nibbles.w]);
    }
    return vec4<f32>(nibbles) - ZERO;
}
