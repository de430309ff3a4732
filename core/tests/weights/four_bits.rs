//! bitsandbytes' numbers of four bits as blocks, and where they are none.

use burn::tensor::Device;
use x2i_core::weights::{Component, Matrix, StoredType, Weights};
use x2i_shaders::BlockType;

use crate::common::{Made, devices, f32_bytes, safetensors, source};

const SHAPE: [usize; 2] = [6, 96];

fn made(name: &str, stored: StoredType, shape: &[usize], bytes: Vec<u8>) -> Made {
    Made {
        name: format!("img_in.weight{name}"),
        stored,
        shape: shape.to_vec(),
        bytes,
    }
}

/// A layer of `block` numbers for each magnitude.
fn layer(quant_type: &str, map: [f32; 16], block: usize) -> Weights {
    let count = SHAPE[0] * SHAPE[1];
    let pairs: Vec<u8> = (0..count / 2).map(|i| (i * 7919 % 256) as u8).collect();
    let magnitudes: Vec<f32> = (0..count.div_ceil(block)).map(|i| 0.1 + i as f32).collect();
    let state = format!(
        r#"{{"quant_type": "{quant_type}", "blocksize": {block}, "dtype": "float32", "shape": [6, 96]}}"#
    );
    let tensors = [
        made("", StoredType::U8, &[pairs.len(), 1], pairs),
        made(
            ".absmax",
            StoredType::F32,
            &[magnitudes.len()],
            f32_bytes(&magnitudes),
        ),
        made(".quant_map", StoredType::F32, &[16], f32_bytes(&map)),
        made(
            &format!(".quant_state.bitsandbytes__{quant_type}"),
            StoredType::U8,
            &[state.len()],
            state.into_bytes(),
        ),
    ];
    let weights = Weights::open("part", Component::Flux, vec![source(safetensors(&tensors))]);
    pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"))
}

fn table(block_type: BlockType) -> [f32; 16] {
    block_type.float_table().expect("a table")
}

#[test]
fn known_maps_are_blocks_of_the_same_floats() {
    for (quant_type, block_type) in [("nf4", BlockType::NF4), ("fp4", BlockType::FP4)] {
        for block in [32, 64, 96] {
            let weights = layer(quant_type, table(block_type), block);
            let read = pollster::block_on(weights.read("img_in.weight")).expect("a weight");
            let expected = read.to_f32();
            for device in devices() {
                let scope = weights.scope(&device).child("img_in");
                for rows in [0..6, 1..3, 5..6] {
                    let matrix = scope.matrix_rows("weight", SHAPE, rows.clone());
                    let Ok(Matrix::Quantized(blocks)) = pollster::block_on(matrix) else {
                        panic!("{quant_type} of {block} is no matrix of blocks");
                    };
                    assert_eq!(blocks.block_type(), block_type);
                    let found = blocks.dequantize().into_data().try_to_vec::<f32>();
                    let part = rows.start * SHAPE[1]..rows.end * SHAPE[1];
                    assert_eq!(found.expect("f32"), expected[part], "{quant_type} {block}");
                }
            }
        }
    }
}

#[test]
fn other_maps_and_small_blocks_make_a_dense_matrix() {
    let mut map = table(BlockType::NF4);
    map[3] = -0.4;
    for weights in [
        layer("nf4", map, 64),
        layer("nf4", table(BlockType::NF4), 16),
    ] {
        let device = Device::flex();
        let scope = weights.scope(&device).child("img_in");
        let matrix = pollster::block_on(scope.matrix("weight", SHAPE));
        assert!(matches!(matrix, Ok(Matrix::Dense(_))), "{matrix:?}");
        assert_eq!(weights.device_len("", &device), 4 * 6 * 96);
    }
}
