//! Renders the shaders of `wgsl/` and launches them through cubecl.
//!
//! A shader file is valid WGSL by itself. What a launch decides at compile time stands in a line
//! `const NAME: type = value;` or `alias NAME = type;`, whose value [`Shader::render`] replaces.

use std::cell::RefCell;

use burn::backend::DispatchTensorKind;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::prelude::KernelId;
use burn_cubecl::cubecl::server::KernelArguments;
use burn_cubecl::cubecl::{CubeCount, CubeDim, ExecutionMode};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;

use crate::kernels;

/// The name that cubecl gives a wgpu client that compiles WGSL.
pub(crate) const CLIENT: &str = "wgpu<wgsl>";

/// Invocations of a workgroup of every shader.
pub(crate) const THREADS: u32 = 256;

/// WebGPU's default limit of workgroups along one axis.
const MAX_GROUPS: u32 = 65_535;

/// What Tint needs above a shader that uses subgroups. Ours branch on the number of the subgroup, so that whole
/// subgroups call them, which Tint's uniformity analysis can't see. naga needs neither line and does not know
/// the first.
const SUBGROUP_PRELUDE: &str = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n";

/// One compile-time variant of a shader file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shader {
    /// The stem of the file.
    pub(crate) name: &'static str,
    /// The text of the file.
    pub(crate) text: &'static str,
    /// The values of its constants, as WGSL literals.
    pub(crate) constants: Vec<(&'static str, String)>,
}

impl Shader {
    /// The stem and the constants: `qmatvec NIBBLES=true INPUT_ROWS=8u`.
    pub(crate) fn label(&self) -> String {
        let constants = self.constants.iter();
        constants.fold(self.name.to_owned(), |label, (name, value)| {
            format!("{label} {name}={value}")
        })
    }

    /// The text with this variant's constants.
    ///
    /// # Panics
    /// When the file does not define one of the constants exactly once.
    pub(crate) fn render(&self) -> String {
        let mut text = self.text.to_owned();
        for (name, value) in &self.constants {
            let definitions = [format!("\nconst {name}: "), format!("\nalias {name} ")];
            let mut places = definitions
                .iter()
                .flat_map(|found| text.match_indices(found));
            let (Some((start, _)), None) = (places.next(), places.next()) else {
                panic!("{}.wgsl must define `{name}` once", self.name);
            };
            let equals = start + text[start..].find(" = ").expect("a const has a value") + 3;
            let end = equals + text[equals..].find(';').expect("a const ends in ;");
            text.replace_range(equals..end, value);
        }
        if cfg!(target_family = "wasm") && text.contains("subgroupShuffle") {
            text.insert_str(0, SUBGROUP_PRELUDE);
        }
        if text.contains("= f16;") {
            text.insert_str(0, "enable f16;\n");
        }
        text
    }
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.render())
    }

    fn id(&self) -> KernelId {
        // In a checked module naga ends every loop by a counter in memory too, and a compiler that can't unroll a loop
        // keeps arrays of matrices in memory. Ours end by their own counters. llvmpipe, whose subgroups are small, takes
        // far longer to compile what is unrolled.
        let hardware = self.constants.contains(&("LANES", "32u".to_owned()));
        let mode = match hardware && self.name.ends_with("_coop") {
            true => ExecutionMode::Unchecked,
            false => ExecutionMode::Checked,
        };
        let id = KernelId::new::<Self>().mode(mode);
        id.info((self.name, self.constants.clone()))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

/// True when the device of the tensor compiles WGSL, and shall run ours.
pub(crate) fn runs(tensor: &CubeTensor) -> bool {
    tensor.client.name() == CLIENT && !kernels::of(&tensor.device).composed
}

/// True when the device of the tensor has f16 in its shaders; elsewhere cubecl makes no f16 tensors.
pub(crate) fn has_f16(tensor: &CubeTensor) -> bool {
    let f16 = ElemType::Float(FloatKind::F16);
    tensor.client.properties().supports_type(f16)
}

/// `tensor [batch, tokens, width]` as equally spaced rows, and the elements from one row to the next. A slice
/// of the last axis is not copied.
pub(crate) fn rows(tensor: CubeTensor) -> (CubeTensor, usize) {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let follow = shape[0] == 1 || strides[0] == shape[1] * strides[1];
    if strides[2] == 1 && follow {
        let stride = strides[1];
        return (tensor, stride);
    }
    let width = shape[2];
    (into_contiguous(tensor), width)
}

/// True when the device compiles WGSL, and all tensors hold f32 and are not empty.
pub(crate) fn takes<'a>(tensors: impl IntoIterator<Item = &'a CubeTensor>) -> bool {
    tensors
        .into_iter()
        .all(|tensor| runs(tensor) && tensor.dtype == DType::F32 && tensor.meta.num_elements() > 0)
}

/// A burn tensor as the launches take it.
///
/// # Panics
/// For a tensor of another backend: a caller knows that it is none.
pub(crate) fn cube<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(tensor) => tensor.float(),
        _ => panic!("the device has cubecl's tensors"),
    }
}

/// A tensor of zeros, for a binding that a variant does not read: as large as the elements of any.
pub(crate) fn nothing(like: &CubeTensor) -> CubeTensor {
    vector(like, &[0.0; 4])
}

/// A tensor of one number, on the device of another.
pub(crate) fn number(like: &CubeTensor, number: f32) -> CubeTensor {
    vector(like, &[number])
}

fn vector(like: &CubeTensor, numbers: &[f32]) -> CubeTensor {
    let client = like.client.clone();
    let handle = client.create_from_slice(bytemuck::cast_slice(numbers));
    let shape = Shape::new([numbers.len()]);
    CubeTensor::new_contiguous(client, like.device.clone(), shape, handle, DType::F32)
}

/// An uninitialized tensor on the device of another.
pub(crate) fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    let client = like.client.clone();
    let handle = client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(client, like.device.clone(), shape, handle, dtype)
}

/// Runs `groups` workgroups of [`THREADS`] and returns the output, of `shape` and the dtype of the first input.
///
/// The buffers are bound in this order: the contiguous `inputs`, the output, the parameters. The shader numbers
/// its workgroups `group.y * groups.x + group.x`.
pub(crate) fn launch(
    shader: Shader,
    inputs: Vec<CubeTensor>,
    shape: Shape,
    params: &[u32],
    groups: u32,
) -> CubeTensor {
    let out = empty(&inputs[0], shape, inputs[0].dtype);
    let mut buffers = inputs;
    buffers.push(out.clone());
    run(shader, buffers, params, groups, THREADS);
    out
}

/// Runs `groups` workgroups of `threads`, which read and write the contiguous `buffers`. The parameters are bound
/// after them. The numbers of workgroups are those of [`launch`].
pub(crate) fn run(
    shader: Shader,
    buffers: Vec<CubeTensor>,
    params: &[u32],
    groups: u32,
    threads: u32,
) {
    RUN.with_borrow_mut(|run| {
        if let Some(run) = run {
            run.push(shader.name);
        }
    });
    let client = buffers[0].client.clone();
    let params = client.create_from_slice(bytemuck::cast_slice(params));
    let mut bindings: Vec<_> = buffers
        .into_iter()
        .map(|buffer| buffer.handle.binding())
        .collect();
    bindings.push(params.binding());
    let lines = groups.div_ceil(MAX_GROUPS);
    client.launch(
        Box::new(SourceKernel::new(shader, CubeDim::new_1d(threads))),
        CubeCount::Static(groups.div_ceil(lines), lines, 1),
        KernelArguments::new().with_buffers(bindings),
    );
}

thread_local! {
    /// What this thread has launched, while [`recorded`] asks for it.
    static RUN: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
}

/// What `work` gives, and the names of the shaders that it launched on this thread.
pub(crate) fn recorded<T>(work: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    RUN.set(Some(Vec::new()));
    let given = work();
    (given, RUN.take().unwrap_or_default())
}
