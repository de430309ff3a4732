// What a shader writes: f32, or activations that the next product alone reads, in half of the memory.
//
// f16 has 11 bits from 6e-5 to 65504. Of a sixteenth, that is from 1e-3 to 1e6: FLUX's widest activations reach 6e4, and
// what is below 1e-3 beside values of about one is off by 5e-7 at most. A power of two costs no bit.

// Replaced at launch.
const HALF: bool = false; // Element is f16, and holds a sixteenth of the value
alias Element = f32;

// What is written for a value. A finite one stays finite: beyond a million f16 holds its largest number.
fn stored(value: f32) -> Element {
    if !HALF {
        return Element(value);
    }
    let sixteenth = value * 0.0625;
    let finite = (bitcast<u32>(value) & 0x7fffffffu) < 0x7f800000u;
    return Element(select(sixteenth, clamp(sixteenth, -65504.0, 65504.0), finite));
}
