//! Floats of 8 bits against what ml_dtypes makes of them: all 256 of both kinds.
//!
//! `data/fp8.safetensors` comes from `tests/reference/make_fp8_vectors.py`.

use burn::tensor::{Device, FloatDType};
use x2i_core::weights::{Component, Matrix, StoredType, Weights};

use crate::common::{Made, opened, safetensors, source, values};

const TYPES: [(StoredType, &str); 2] = [(StoredType::F8E4M3, "e4m3"), (StoredType::F8E5M2, "e5m2")];

/// Bits rather than numbers: the sign of a zero and of a NaN counts, too.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_float_of_8_bits_is_widened_to_the_bit_as_ml_dtypes_widens_it() {
    let file = opened(include_bytes!("data/fp8.safetensors").to_vec());
    for (stored, name) in TYPES {
        assert_eq!(file.tensors()[name].stored, stored);
        let expected = values(&file, &format!("{name}.f32"));
        assert_eq!(expected.len(), 256);
        assert_eq!(bits(&values(&file, name)), bits(&expected), "{name}");
    }
}

#[test]
fn a_matrix_of_8_bits_has_the_same_numbers_on_the_device() {
    let device = Device::flex();
    let file = opened(include_bytes!("data/fp8.safetensors").to_vec());
    for (stored, name) in TYPES {
        // Without infinities and NaN, which no weight is.
        let finite = |byte: u8| byte & 0x7f < 0x7c;
        let bytes: Vec<u8> = (0..=255).filter(|&byte| finite(byte)).collect();
        let all = values(&file, &format!("{name}.f32"));
        let expected: Vec<f32> = bytes.iter().map(|&byte| all[usize::from(byte)]).collect();
        let shape = [8, bytes.len() / 8];
        let made = Made {
            name: "img_in.weight".to_owned(),
            stored,
            shape: shape.to_vec(),
            bytes,
        };
        let sources = vec![source(safetensors(&[made]))];
        let weights = Weights::open("part", Component::Flux, sources);
        let weights = pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"));
        let scope = weights.scope(&device).child("img_in");
        for rows in [0..8, 2..5] {
            let matrix = pollster::block_on(scope.matrix_rows("weight", shape, rows.clone()));
            let Ok(Matrix::Dense(dense)) = matrix else {
                panic!("{matrix:?}");
            };
            let found = dense.cast(FloatDType::F32).into_data().try_to_vec::<f32>();
            let range = rows.start * shape[1]..rows.end * shape[1];
            assert_eq!(found.expect("f32"), expected[range], "{name}");
        }
    }
}
