//! Every unit against the naive twin.

use half::{bf16, f16};

use super::bfloat::Bfloat;
use super::float::{Narrow, Wide};
use super::pair::round;
use super::tiles::{Amx, Software};
use super::*;
use crate::reference::linear;
use crate::widen::Half;

/// f32 sums of up to 2000 terms in another order, relative to the largest.
const TOLERANCE: f32 = 3e-6;

/// Input rows, numbers along a row, weight rows: with and without rests of groups, chunks, tiles and blocks.
const SIZES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [9, 31, 33],
    [16, 64, 12],
    [17, 66, 96],
    [33, 2 * CHUNK + 7, 97],
    [40, 5, 2 * BLOCK + 13],
    [32, 2 * CHUNK, 24],
    [MOST_ROWS + 1, 34, 100],
    [2 * MOST_ROWS + 35, 3, 5],
];

fn values(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1999) as f32 / 999.5 - 1.0;
    (0..count).map(value).collect()
}

#[track_caller]
fn assert_close(case: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{case}");
    let largest = expected.iter().fold(1e-30, |max: f32, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= TOLERANCE * largest,
            "{case}, element {i} is {found}, the reference has {expected}"
        );
    }
}

fn rounded(x: &f32) -> f32 {
    bf16::from_f32(*x).to_f32()
}

/// The unit's product and the reference's, of these very weights and of inputs that `round` rounds.
fn check<U: Unit, H: Half>(
    unit: Option<U>,
    of: fn(f32) -> H,
    inputs: fn(&f32) -> f32,
    rows_of: impl Fn(&[H], usize) -> Box<dyn WeightRows<U::Step> + '_>,
) {
    let name = std::any::type_name::<U>();
    let Some(unit) = unit else {
        return println!("not run: this machine has no {name}");
    };
    for [m, cols, rows] in SIZES {
        let x = values(m * cols, 1);
        let weight: Vec<H> = values(rows * cols, 2).into_iter().map(of).collect();
        let mut wide = vec![0.0; weight.len()];
        H::widen(&weight, &mut wide);
        let numbers: Vec<f32> = x.iter().map(inputs).collect();
        let bias = values(rows, 3);
        for bias in [None, Some(&bias[..])] {
            let expected = linear(&numbers, &wide, bias, cols);
            let found = product(unit, &x, &*rows_of(&weight, cols), [rows, cols], bias);
            let case = format!("{name}, {m} x {cols} x {rows}, bias {}", bias.is_some());
            assert_close(&case, &found, &expected);
        }
    }
}

#[test]
fn pairs_give_the_products_of_the_rounded_inputs() {
    check(Bfloat::here(), bf16::from_f32, rounded, |weight, cols| {
        Box::new(Pairs { weight, cols })
    });
    check(Amx::here(), bf16::from_f32, rounded, |weight, cols| {
        Box::new(Pairs { weight, cols })
    });
}

/// Where there is no AMX, too: packing, rests and strides are those of the machine's tiles.
#[test]
fn tiles_in_software_give_the_products_of_the_rounded_inputs() {
    check(Some(Software), bf16::from_f32, rounded, |weight, cols| {
        Box::new(Pairs { weight, cols })
    });
}

#[test]
fn floats_give_the_products_of_the_inputs_themselves() {
    fn same(x: &f32) -> f32 {
        *x
    }
    check(Wide::here(), bf16::from_f32, same, |weight, cols| {
        Box::new(Widened { weight, cols })
    });
    check(Narrow::here(), f16::from_f32, same, |weight, cols| {
        Box::new(Widened { weight, cols })
    });
    let units = (Wide::here(), Narrow::here());
    for [m, cols, rows] in SIZES {
        let (x, weight) = (values(m * cols, 1), values(rows * cols, 2));
        let expected = linear(&x, &weight, None, cols);
        let floats = Floats {
            weight: &weight,
            cols,
        };
        if let Some(unit) = units.0 {
            let found = product(unit, &x, &floats, [rows, cols], None);
            assert_close("f32 in place, AVX-512", &found, &expected);
        }
        if let Some(unit) = units.1 {
            let found = product(unit, &x, &floats, [rows, cols], None);
            assert_close("f32 in place, AVX2", &found, &expected);
        }
    }
}

#[test]
fn a_weight_at_an_odd_place_gives_the_same() {
    let Some(unit) = Bfloat::here() else {
        return println!("not run: this machine does not multiply bf16");
    };
    let (m, cols, rows) = (20, 70, 24);
    let x = values(m * cols, 1);
    let numbers = values(rows * cols + 1, 2).into_iter().map(bf16::from_f32);
    let numbers: Vec<bf16> = numbers.collect();
    let shifted: Vec<bf16> = [bf16::ZERO]
        .into_iter()
        .chain(numbers.iter().copied())
        .collect();
    let [found, expected] = [&shifted[1..], &numbers].map(|weight| {
        let weight = &weight[..rows * cols];
        product(unit, &x, &Pairs { weight, cols }, [rows, cols], None)
    });
    assert_eq!(found, expected);
}

#[test]
fn inputs_are_rounded_to_the_nearest_bf16() {
    let numbers = [
        1.0,
        -1.0,
        0.1,
        -0.0,
        1e30,
        -3e38,
        f32::MAX,
        1e-38,
        1e-40,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ];
    let mut out = [0; 8];
    round(&numbers, &mut out);
    let halves: &[bf16] = bytemuck::cast_slice(&out);
    let expected = numbers.map(bf16::from_f32);
    assert_eq!(halves[..numbers.len()], expected);
    assert_eq!(halves[numbers.len()..], [bf16::ZERO; 3]);
    let mut out = [0; 1];
    round(&[f32::NAN, f32::from_bits(0x7f80_0001)], &mut out);
    let [low, high] = bytemuck::cast::<u32, [bf16; 2]>(out[0]);
    assert!(low.is_nan() && high.is_nan());
}

/// Rows of one number each, so that each product is a sum of its own.
fn extremes<U: Unit>(
    unit: U,
    weight: &dyn WeightRows<U::Step>,
    x: &[f32],
    cols: usize,
) -> Vec<f32> {
    product(unit, x, weight, [1, cols], None)
}

#[test]
fn extreme_numbers_keep_their_values() {
    let big = [
        1e30,
        -1e30,
        3e38,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e-30,
        1e-37,
        0.0,
    ];
    let x: Vec<f32> = big.iter().flat_map(|&x| [x, 1.0, 0.0]).collect();
    let weight = [bf16::ONE, bf16::from_f32(0.5), bf16::ONE];
    let wide: Vec<f32> = weight.iter().map(|w| w.to_f32()).collect();
    let numbers: Vec<f32> = x.iter().map(rounded).collect();
    let compare = |name: &str, found: Vec<f32>, numbers: &[f32]| {
        let expected = linear(numbers, &wide, None, 3);
        for (found, expected) in found.into_iter().zip(expected) {
            let same = found.is_nan() == expected.is_nan();
            let close = found == expected || (found - expected).abs() <= 1e-6 * expected.abs();
            assert!(
                same && (close || found.is_nan()),
                "{name}: {found} {expected}"
            );
        }
    };
    let pairs = Pairs {
        weight: &weight,
        cols: 3,
    };
    if let Some(unit) = Bfloat::here() {
        compare("vdpbf16ps", extremes(unit, &pairs, &x, 3), &numbers);
    }
    if let Some(unit) = Amx::here() {
        compare("tdpbf16ps", extremes(unit, &pairs, &x, 3), &numbers);
    }
    compare("tiles", extremes(Software, &pairs, &x, 3), &numbers);
    let floats = Floats {
        weight: &wide,
        cols: 3,
    };
    if let Some(unit) = Wide::here() {
        compare("AVX-512", extremes(unit, &floats, &x, 3), &x);
    }
    if let Some(unit) = Narrow::here() {
        compare("AVX2", extremes(unit, &floats, &x, 3), &x);
    }
}

/// `vdpbf16ps` reads subnormal numbers as zeros; f32 keeps them.
#[test]
fn subnormal_numbers_are_zeros_in_bf16_alone() {
    let x = vec![1e-40, 1.0];
    let weight = [bf16::ONE, bf16::from_f32(1e-39)];
    if let Some(unit) = Bfloat::here() {
        let found = extremes(
            unit,
            &Pairs {
                weight: &weight,
                cols: 2,
            },
            &x,
            2,
        );
        assert_eq!(found, [0.0]);
    }
    if let Some(unit) = Wide::here() {
        let found = extremes(
            unit,
            &Widened {
                weight: &weight,
                cols: 2,
            },
            &x,
            2,
        );
        assert_eq!(found, [1e-40 + weight[1].to_f32()]);
    }
}
