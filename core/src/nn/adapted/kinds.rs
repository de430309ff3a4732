//! Every kind of change, beside a dense matrix and beside blocks, is what its definition says.

use crate::weights::StoredType;

use super::bench::{
    BLOCKS, DENSE, HIDDEN, MLP, Made, adapted, assert_gives, made, model, number, open, own,
};
use super::oracle::{Matrix, dora_columns, dora_rows};

const QKV: &str = "double_blocks.0.img_attn.qkv";
const MLP_IN: &str = "double_blocks.0.img_mlp.0";
const LINEAR1: &str = "single_blocks.0.linear1";
const FINAL: &str = "final_layer.adaLN_modulation.1";
const STRENGTH: f32 = 0.75;

/// How a model may hold its matrices, and how exact that is.
const HELD: &[(StoredType, f64)] = &[
    (StoredType::F32, DENSE),
    (StoredType::BF16, BLOCKS),
    (StoredType::Q8_0, BLOCKS),
    (StoredType::Q4_0, BLOCKS),
];

/// A file of these tensors adds `delta`, times the strength, to rows from `first` of a layer.
#[track_caller]
fn adds(tensors: &[Made], layer: &str, first: usize, delta: &Matrix) {
    for &(stored, tolerance) in HELD {
        let lora = open(tensors, STRENGTH).expect("it opens");
        let weights = adapted(stored, vec![lora]).expect("it fits");
        let (matrix, bias) = parts(stored, layer);
        let delta = delta.placed(first, matrix.rows);
        let changed = matrix.plus(&delta.scaled(STRENGTH.into()));
        assert_gives(&weights, layer, &changed, &bias, tolerance);
    }
}

/// The model's own weight and bias of a layer.
fn parts(stored: StoredType, layer: &str) -> (Matrix, Matrix) {
    let model = model(stored);
    let part = |leaf| own(&model, &format!("{layer}.{leaf}"));
    (part("weight"), part("bias"))
}

fn random(seed: u32, rows: usize, columns: usize) -> Matrix {
    Matrix::random(seed, rows, columns)
}

#[test]
fn a_pair_is_multiplied_by_its_alpha_over_its_rank() {
    let (down, up) = (random(1, 4, HIDDEN), random(2, 3 * HIDDEN, 4));
    let key = |end: &str| format!("diffusion_model.{QKV}.{end}");
    let tensors = [
        made(key("lora_down.weight"), &down),
        made(key("lora_up.weight"), &up),
        number(key("alpha"), 6.0),
    ];
    adds(&tensors, QKV, 0, &up.times(&down).scaled(6.0 / 4.0));
}

#[test]
fn a_pair_of_convolutions_of_one_by_one_is_a_pair_of_matrices() {
    let (down, mid, up) = (random(1, 4, HIDDEN), random(3, 4, 4), random(2, MLP, 4));
    let mut tensors = [
        made(format!("{MLP_IN}.lora_down.weight"), &down),
        made(format!("{MLP_IN}.lora_mid.weight"), &mid),
        made(format!("{MLP_IN}.lora_up.weight"), &up),
    ];
    for (_, shape, _) in &mut tensors {
        shape.extend([1, 1]);
    }
    adds(&tensors, MLP_IN, 0, &up.times(&mid).times(&down));
}

#[test]
fn a_loha_is_the_hadamard_product_of_two_products() {
    // Ranks of 2 stay a pair of rank 4; ranks of 12 are multiplied out.
    for rank in [2, 12] {
        let [w1_a, w2_a] = [1, 2].map(|seed| random(seed, HIDDEN, rank));
        let [w1_b, w2_b] = [3, 4].map(|seed| random(seed, rank, HIDDEN));
        let module = "lycoris_transformer_blocks_0_attn_to_k";
        let tensors = [
            made(format!("{module}.hada_w1_a"), &w1_a),
            made(format!("{module}.hada_w1_b"), &w1_b),
            made(format!("{module}.hada_w2_a"), &w2_a),
            made(format!("{module}.hada_w2_b"), &w2_b),
            number(format!("{module}.alpha"), 1.5),
        ];
        let delta = w1_a.times(&w1_b).hadamard(&w2_a.times(&w2_b));
        adds(&tensors, QKV, HIDDEN, &delta.scaled(1.5 / rank as f64));
    }
}

#[test]
fn a_loha_with_cores_multiplies_them_in() {
    let [w1_a, w2_a] = [1, 2].map(|seed| random(seed, 3, MLP));
    let [w1_b, w2_b] = [3, 4].map(|seed| random(seed, 3, HIDDEN));
    let [t1, t2] = [5, 6].map(|seed| random(seed, 3, 3));
    let mut tensors = vec![
        made(format!("{MLP_IN}.hada_w1_a"), &w1_a),
        made(format!("{MLP_IN}.hada_w1_b"), &w1_b),
        made(format!("{MLP_IN}.hada_w2_a"), &w2_a),
        made(format!("{MLP_IN}.hada_w2_b"), &w2_b),
    ];
    for (key, core) in [("hada_t1", &t1), ("hada_t2", &t2)] {
        let (key, mut shape, values) = made(format!("{MLP_IN}.{key}"), core);
        shape.extend([1, 1]);
        tensors.push((key, shape, values));
    }
    let first = w1_a.transposed().times(&t1).times(&w1_b);
    let second = w2_a.transposed().times(&t2).times(&w2_b);
    adds(&tensors, MLP_IN, 0, &first.hadamard(&second));
}

/// The tensors of a LoKr and what they make, without alpha.
fn lokr(
    module: &str,
    left: [usize; 2],
    right: [usize; 2],
    splits: [bool; 2],
) -> (Vec<Made>, Matrix) {
    let mut tensors = vec![];
    let mut factor = |name: &str, [rows, columns]: [usize; 2], split: bool, seed: u32| {
        if !split {
            let whole = random(seed, rows, columns);
            tensors.push(made(format!("{module}.{name}"), &whole));
            return whole;
        }
        let (a, b) = (random(seed, rows, 2), random(seed + 1, 2, columns));
        tensors.push(made(format!("{module}.{name}_a"), &a));
        tensors.push(made(format!("{module}.{name}_b"), &b));
        a.times(&b)
    };
    let left = factor("lokr_w1", left, splits[0], 11);
    let right = factor("lokr_w2", right, splits[1], 13);
    (tensors, left.kron(&right))
}

#[test]
fn a_lokr_is_a_kronecker_product_however_it_is_factored() {
    for (left, right) in [
        ([4, 4], [3 * HIDDEN / 4, HIDDEN / 4]),
        ([48, 2], [2, HIDDEN / 2]),
        ([1, 1], [3 * HIDDEN, HIDDEN]),
        ([3 * HIDDEN, HIDDEN], [1, 1]),
    ] {
        for splits in [[false, false], [false, true], [true, false], [true, true]] {
            let module = format!("lora_unet_{}", QKV.replace('.', "_"));
            let (mut tensors, delta) = lokr(&module, left, right, splits);
            tensors.push(number(format!("{module}.alpha"), 3.0));
            // An alpha counts where there is a rank.
            let scale = if splits == [false, false] {
                1.0
            } else {
                3.0 / 2.0
            };
            adds(&tensors, QKV, 0, &delta.scaled(scale));
        }
    }
}

#[test]
fn a_lokr_of_one_of_fused_layers_changes_its_rows_alone() {
    let module = "transformer.single_transformer_blocks.0.proj_mlp";
    let (tensors, delta) = lokr(module, [8, 4], [MLP / 8, HIDDEN / 4], [false, true]);
    adds(&tensors, LINEAR1, 3 * HIDDEN, &delta);
    let module = "transformer.transformer_blocks.0.attn.to_v";
    let (tensors, delta) = lokr(module, [4, 8], [HIDDEN / 4, HIDDEN / 8], [false, false]);
    adds(&tensors, QKV, 2 * HIDDEN, &delta);
}

#[test]
fn a_lokr_with_a_core_multiplies_it_in() {
    let w1 = random(1, 4, 4);
    let (w2_a, core, w2_b) = (
        random(2, 3, MLP / 4),
        random(3, 3, 3),
        random(4, 3, HIDDEN / 4),
    );
    let (t2, mut t2_shape, t2_values) = made(format!("{MLP_IN}.lokr_t2"), &core);
    t2_shape.extend([1, 1]);
    let tensors = [
        made(format!("{MLP_IN}.lokr_w1"), &w1),
        made(format!("{MLP_IN}.lokr_w2_a"), &w2_a),
        made(format!("{MLP_IN}.lokr_w2_b"), &w2_b),
        (t2, t2_shape, t2_values),
        number(format!("{MLP_IN}.alpha"), 1.0),
    ];
    let w2 = w2_a.transposed().times(&core).times(&w2_b);
    adds(&tensors, MLP_IN, 0, &w1.kron(&w2).scaled(1.0 / 3.0));
}

/// The halves of the final modulation stand the other way round in diffusers.
#[test]
fn kinds_of_swapped_halves_find_their_rows() {
    let swapped = |delta: &Matrix| {
        let halves = [HIDDEN..2 * HIDDEN, 0..HIDDEN].map(|rows| delta.slice(rows));
        halves[0]
            .placed(0, 2 * HIDDEN)
            .plus(&halves[1].placed(HIDDEN, 2 * HIDDEN))
    };
    let module = "transformer.norm_out.linear";
    let (tensors, delta) = lokr(module, [4, 4], [HIDDEN / 2, HIDDEN / 4], [false, true]);
    adds(&tensors, FINAL, 0, &swapped(&delta));
    let delta = random(5, 2 * HIDDEN, HIDDEN);
    adds(
        &[made(format!("{module}.diff"), &delta)],
        FINAL,
        0,
        &swapped(&delta),
    );
}

#[test]
fn differences_are_added_as_they_are() {
    let delta = random(1, MLP, HIDDEN);
    let bias = random(2, MLP, 1);
    let key = format!("diffusion_model.{MLP_IN}");
    adds(&[made(format!("{key}.diff"), &delta)], MLP_IN, 0, &delta);
    let (bias_key, _, values) = made(format!("{key}.diff_b"), &bias);
    let tensors = [
        made(format!("{key}.diff"), &delta),
        (bias_key, vec![MLP], values),
        number(format!("{key}.alpha"), 9.0),
    ];
    let lora = open(&tensors, STRENGTH).expect("it opens");
    let weights = adapted(StoredType::Q8_0, vec![lora]).expect("it fits");
    let (matrix, own_bias) = parts(StoredType::Q8_0, MLP_IN);
    let strength = STRENGTH.into();
    let matrix = matrix.plus(&delta.scaled(strength));
    let bias = own_bias.plus(&bias.scaled(strength));
    assert_gives(&weights, MLP_IN, &matrix, &bias, BLOCKS);
}

/// DoRA of a pair on some rows of a layer, in one naming of its magnitude.
fn dora(magnitude: &str, module: &str, rows: usize) -> (Vec<Made>, Matrix, Vec<f64>) {
    let (down, up) = (random(1, 4, HIDDEN), random(2, rows, 4));
    let lengths = random(3, rows, 1).map(|_, _, value| value.abs() + 0.5);
    let (key, _, values) = made(format!("{module}.{magnitude}"), &lengths);
    let shape = match magnitude {
        "dora_scale" => vec![rows, 1],
        _ => vec![rows],
    };
    let tensors = vec![
        made(format!("{module}.lora_A.weight"), &down),
        made(format!("{module}.lora_B.weight"), &up),
        number(format!("{module}.alpha"), 2.0),
        (key, shape, values),
    ];
    (tensors, up.times(&down).scaled(0.5), lengths.values)
}

#[test]
fn dora_gives_every_changed_row_its_length() {
    for strength in [1.0f32, STRENGTH] {
        for magnitude in [
            "lora_magnitude_vector",
            "lora_magnitude_vector.weight",
            "dora_scale",
        ] {
            for &(stored, tolerance) in HELD {
                let (tensors, delta, lengths) = dora(magnitude, MLP_IN, MLP);
                let lora = open(&tensors, strength).expect("it opens");
                let weights = adapted(stored, vec![lora]).expect("it fits");
                let (matrix, bias) = parts(stored, MLP_IN);
                let matrix = dora_rows(&matrix, &delta, &lengths, strength.into());
                assert_gives(&weights, MLP_IN, &matrix, &bias, tolerance);
            }
        }
    }
}

#[test]
fn dora_of_one_of_fused_layers_leaves_the_others() {
    for (module, layer, first, rows) in [
        (
            "transformer.transformer_blocks.0.attn.to_k",
            QKV,
            HIDDEN,
            HIDDEN,
        ),
        (
            "transformer.single_transformer_blocks.0.proj_mlp",
            LINEAR1,
            3 * HIDDEN,
            MLP,
        ),
    ] {
        let (tensors, delta, lengths) = dora("lora_magnitude_vector", module, rows);
        let lora = open(&tensors, STRENGTH).expect("it opens");
        let weights = adapted(StoredType::Q8_0, vec![lora]).expect("it fits");
        let (matrix, bias) = parts(StoredType::Q8_0, layer);
        let own = matrix.slice(first..first + rows);
        let changed = dora_rows(&own, &delta, &lengths, STRENGTH.into());
        let difference = changed.plus(&own.scaled(-1.0));
        let changed = matrix.plus(&difference.placed(first, matrix.rows));
        assert_gives(&weights, layer, &changed, &bias, BLOCKS);
    }
}

#[test]
fn dora_of_swapped_halves_swaps_its_lengths_too() {
    let (tensors, delta, lengths) = dora(
        "lora_magnitude_vector",
        "transformer.norm_out.linear",
        2 * HIDDEN,
    );
    let lora = open(&tensors, 1.0).expect("it opens");
    let weights = adapted(StoredType::F32, vec![lora]).expect("it fits");
    let (matrix, bias) = parts(StoredType::F32, FINAL);
    let ours = |at: usize| (at + HIDDEN) % (2 * HIDDEN);
    let delta = delta.map(|row, column, _| delta.at(ours(row), column));
    let lengths: Vec<f64> = (0..2 * HIDDEN).map(|at| lengths[ours(at)]).collect();
    let matrix = dora_rows(&matrix, &delta, &lengths, 1.0);
    assert_gives(&weights, FINAL, &matrix, &bias, DENSE);
}

#[test]
fn dora_of_columns_is_told_by_the_shape_of_its_lengths() {
    let (down, up) = (random(1, 4, HIDDEN), random(2, HIDDEN, 4));
    let lengths = random(3, 1, HIDDEN).map(|_, _, value| value.abs() + 0.5);
    let module = "lora_unet_transformer_blocks_0_attn_to_v";
    let tensors = [
        made(format!("{module}.lora_down.weight"), &down),
        made(format!("{module}.lora_up.weight"), &up),
        made(format!("{module}.dora_scale"), &lengths),
    ];
    for &(stored, tolerance) in HELD {
        let lora = open(&tensors, STRENGTH).expect("it opens");
        let weights = adapted(stored, vec![lora]).expect("it fits");
        let (matrix, bias) = parts(stored, QKV);
        let own = matrix.slice(2 * HIDDEN..3 * HIDDEN);
        let delta = up.times(&down);
        let changed = dora_columns(&own, &delta, &lengths.values, STRENGTH.into());
        let difference = changed.plus(&own.scaled(-1.0));
        let changed = matrix.plus(&difference.placed(2 * HIDDEN, matrix.rows));
        assert_gives(&weights, QKV, &changed, &bias, tolerance);
    }
}

#[test]
fn dora_of_a_lokr_and_of_a_loha() {
    let lengths = random(3, MLP, 1).map(|_, _, value| value.abs() + 0.5);
    let (mut tensors, kron) = lokr(MLP_IN, [4, 4], [MLP / 4, HIDDEN / 4], [false, true]);
    tensors.push(made(format!("{MLP_IN}.dora_scale"), &lengths));
    let factors = [(1, MLP, 2), (2, 2, HIDDEN), (3, MLP, 2), (4, 2, HIDDEN)];
    let [a, b, c, d] = factors.map(|(seed, rows, columns)| random(seed, rows, columns));
    let hada = a.times(&b).hadamard(&c.times(&d));
    let loha = [
        made(format!("{MLP_IN}.hada_w1_a"), &a),
        made(format!("{MLP_IN}.hada_w1_b"), &b),
        made(format!("{MLP_IN}.hada_w2_a"), &c),
        made(format!("{MLP_IN}.hada_w2_b"), &d),
        made(format!("{MLP_IN}.dora_scale"), &lengths),
    ];
    for (tensors, delta) in [(&tensors[..], kron), (&loha[..], hada)] {
        let lora = open(tensors, STRENGTH).expect("it opens");
        let weights = adapted(StoredType::Q8_0, vec![lora]).expect("it fits");
        let (matrix, bias) = parts(StoredType::Q8_0, MLP_IN);
        let matrix = dora_rows(&matrix, &delta, &lengths.values, STRENGTH.into());
        assert_gives(&weights, MLP_IN, &matrix, &bias, BLOCKS);
    }
}

/// All that one layer may have at once: the changes of each file start from the model's own matrix.
#[test]
fn changes_of_several_files_add_up() {
    let (dora_tensors, delta, lengths) = dora("lora_magnitude_vector", MLP_IN, MLP);
    let (lokr_tensors, kron) = lokr(MLP_IN, [4, 4], [MLP / 4, HIDDEN / 4], [false, false]);
    let difference = random(9, MLP, HIDDEN);
    let files = [
        open(&dora_tensors, 0.5),
        open(&dora_tensors, 0.25),
        open(&lokr_tensors, -1.0),
        open(&[made(format!("{MLP_IN}.diff"), &difference)], 2.0),
    ];
    let loras = files.into_iter().map(|file| file.expect("it opens"));
    let weights = adapted(StoredType::Q8_0, loras.collect()).expect("they fit");
    let (matrix, bias) = parts(StoredType::Q8_0, MLP_IN);
    let matrix = dora_rows(&matrix, &delta, &lengths, 0.75)
        .plus(&kron.scaled(-1.0))
        .plus(&difference.scaled(2.0));
    assert_gives(&weights, MLP_IN, &matrix, &bias, BLOCKS);
}

#[test]
fn norms_are_changed_and_replaced() {
    use burn::tensor::Device;
    let name = "double_blocks.0.img_attn.norm.query_norm";
    let new = random(1, 8, 1);
    let before = own(&model(StoredType::F32), &format!("{name}.scale"));
    let read = |key: &str| {
        let tensors = [(key.to_owned(), vec![8], new.f32s())];
        let lora = open(&tensors, STRENGTH).expect("it opens");
        let weights = adapted(StoredType::F32, vec![lora]).expect("it fits");
        let device = Device::flex();
        let scope = weights.scope(&device);
        let scale = format!("{name}.scale");
        let tensor = pollster::block_on(scope.tensor(&scale, [8])).expect("a norm");
        tensor.into_data().try_to_vec::<f32>().expect("f32 data")
    };
    let strength = f64::from(STRENGTH);
    let added = before.plus(&new.scaled(strength));
    let replaced = before.scaled(1.0 - strength).plus(&new.scaled(strength));
    for (key, expected) in [
        (
            "lora_unet_double_blocks_0_img_attn_norm_query_norm.diff",
            &added,
        ),
        (
            "diffusion_model.double_blocks.0.img_attn.norm.query_norm.scale.diff",
            &added,
        ),
        (
            "lora_unet_double_blocks_0_img_attn_norm_query_norm.w_norm",
            &added,
        ),
        (
            "transformer.transformer_blocks.0.attn.norm_q.weight",
            &replaced,
        ),
        ("double_blocks.0.img_attn.norm.query_norm.scale", &replaced),
    ] {
        for (ours, exact) in read(key).iter().zip(&expected.values) {
            assert!(
                (f64::from(*ours) - exact).abs() < 1e-6,
                "{key}: {ours} {exact}"
            );
        }
    }
}

/// What a change takes beside its matrix: LoKr and LoHa stay factored.
#[test]
fn factors_are_not_multiplied_out() {
    use burn::tensor::Device;
    let device = Device::flex();
    let bytes = |tensors: &[Made]| {
        let lora = open(tensors, 1.0).expect("it opens");
        let weights = adapted(StoredType::Q8_0, vec![lora]).expect("it fits");
        weights.device_len(MLP_IN, &device) - model(StoredType::Q8_0).device_len(MLP_IN, &device)
    };
    let (tensors, _) = lokr(MLP_IN, [4, 4], [MLP / 4, HIDDEN / 4], [false, false]);
    assert_eq!(bytes(&tensors), 4 * (4 * 4 + (MLP / 4 * HIDDEN / 4)) as u64);
    let (tensors, _) = lokr(MLP_IN, [4, 4], [MLP / 4, HIDDEN / 4], [false, true]);
    assert_eq!(
        bytes(&tensors),
        4 * (4 * 4 + 2 * (MLP / 4 + HIDDEN / 4)) as u64
    );
    let (tensors, _, _) = dora("dora_scale", MLP_IN, MLP);
    assert_eq!(bytes(&tensors), 4 * (4 * (MLP + HIDDEN) + 2 * MLP) as u64);
}
