// Weights out of `words` and `scales`, with numbers.wgsl.

// Four weights; `quad` counts vec4 from the first row on.
fn weights(quad: u32) -> vec4<f32> {
    let group = quad / GROUP4;
    var values: vec4<f32>;
    if NIBBLES {
        let part = quad % GROUP4;
        let word = vec4<u32>(words[group * 4u + part % 4u]);
        let nibbles = (word >> (vec4<u32>(0u, 8u, 16u, 24u) + part / 4u * 4u)) & vec4<u32>(15u);
        values = numbers(nibbles);
    } else if HALVES {
        return halves(words[2u * quad], words[2u * quad + 1u]);
    } else if EXPONENT > 0u {
        return floats(words[quad]);
    } else {
        let word = vec4<i32>(bitcast<i32>(words[quad]));
        values = vec4<f32>((word << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
    }
    if OFFSETS {
        return values * scales[2u * group] + scales[2u * group + 1u];
    }
    return values * scales[group];
}
