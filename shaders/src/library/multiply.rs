//! One product by cubek, with sums and results in f32.

use burn_cubecl::tensor::CubeTensor;

/// `left [.., m, k]` times `right [.., k, n]`, both of one type: `[.., m, n]`, f32 as its sums.
///
/// Without the feature `cuda`, cubek's own choice is taken: tensor cores, or none.
#[cfg(not(feature = "cuda"))]
pub(crate) fn multiply(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    cubek_chooses(left, right)
}

/// `left [.., m, k]` times `right [.., k, n]`, both of one type: `[.., m, n]`, f32 as its sums.
///
/// The first of the [strategies] that takes the shapes runs.
#[cfg(feature = "cuda")]
pub(crate) fn multiply(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    cuda::multiply(&left, &right).unwrap_or_else(|| cubek_chooses(left, right))
}

fn cubek_chooses(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    use burn::tensor::DType;
    use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
    let strategy = MatmulStrategy::default();
    matmul(left, right, None, strategy, DType::F32).expect("cubek has a product for every shape")
}

#[cfg(feature = "cuda")]
mod cuda {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
    use burn_cubecl::tensor::CubeTensor;
    use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
    use cubek::matmul::launch::launch_ref;
    use cubek::matmul::multi_level::Strategy;
    use cubek::matmul::multi_level::components::tile::TileMatmulKind;
    use cubek::matmul::multi_level::routines::batch::double_unit::DoubleUnitSelectionArgs;
    use cubek::matmul::multi_level::routines::batch::ordered_double_buffering::OrderedSelectionArgs;
    use cubek::matmul::multi_level::routines::batch::simple::SimpleArgs;
    use cubek::matmul::routine::BlueprintStrategy::Inferred;
    use cubek::std::InputBinding;

    /// The least rows, columns and terms for which loads of the next tile hide behind products of this one.
    const LARGE: usize = 256;

    pub(super) fn multiply(left: &CubeTensor, right: &CubeTensor) -> Option<CubeTensor> {
        let mut shape = left.meta.shape().to_vec();
        let (axes, terms) = (
            shape.len(),
            right.meta.shape()[right.meta.shape().len() - 2],
        );
        shape[axes - 1] = right.meta.shape()[axes - 1];
        let sizes = [shape[axes - 2], shape[axes - 1], terms];
        let out = crate::wgsl::empty(left, Shape::from(shape), DType::F32);
        let mut strategies = strategies(left.dtype, sizes).into_iter();
        let ran = strategies.any(|strategy| launch(strategy, left, right, &out));
        ran.then_some(out)
    }

    /// From the fastest on. f32 stays f32: cubek's own choice would round it for tensor cores.
    fn strategies(dtype: DType, sizes: [usize; 3]) -> Vec<Strategy> {
        let simple = |tile_matmul| {
            Inferred(SimpleArgs {
                multi_rows: false,
                tile_matmul,
            })
        };
        let double = Inferred(OrderedSelectionArgs {
            partition_k: Some(2),
            row_count: Some(4),
            rows_per_plane: Some(2),
            tile_matmul: TileMatmulKind::Mma,
        });
        let unit = || Strategy::SimpleUnit(Default::default());
        if sizes.contains(&0) {
            return Vec::new();
        }
        match (dtype, sizes.into_iter().min()) {
            (DType::F32, Some(LARGE..)) => vec![
                Strategy::DoubleUnit(Inferred(DoubleUnitSelectionArgs::default())),
                unit(),
                Strategy::Naive,
            ],
            (DType::F32, _) => vec![unit(), Strategy::Naive],
            (_, Some(LARGE..)) => vec![
                Strategy::OrderedDoubleMma(double),
                Strategy::SimpleCyclicMma(simple(TileMatmulKind::Mma)),
                Strategy::SimpleCyclicCmma(simple(TileMatmulKind::Cmma)),
                unit(),
            ],
            _ => vec![
                Strategy::SimpleCyclicMma(simple(TileMatmulKind::Mma)),
                Strategy::SimpleCyclicCmma(simple(TileMatmulKind::Cmma)),
                unit(),
            ],
        }
    }

    /// False where the strategy does not take the shapes or the types.
    fn launch(strategy: Strategy, left: &CubeTensor, right: &CubeTensor, out: &CubeTensor) -> bool {
        let element = ElemType::Float(match left.dtype {
            DType::BF16 => FloatKind::BF16,
            DType::F16 => FloatKind::F16,
            _ => FloatKind::F32,
        });
        let mut elements = MatmulElems::from_globals(&MatmulGlobalElems {
            lhs: element,
            rhs: element,
            out: ElemType::Float(FloatKind::F32),
        });
        let input = |tensor: &CubeTensor| InputBinding::new(tensor.clone().binding(), element);
        let (client, out) = (&out.client, out.clone().binding());
        launch_ref(
            &strategy.into(),
            client,
            input(left),
            input(right),
            out,
            &mut elements,
        )
        .is_ok()
    }
}
