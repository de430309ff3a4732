//! The kinds of changes that a LoRA file may hold, by the file's keys.
//!
//! Source: LoRA (arXiv 2106.09685), DoRA (2402.09353), LoHa (2108.06098) and LoKr (2309.14859), with the
//! tensors that PEFT and LyCORIS write. Factors of convolutions of 1 x 1 count as matrices. Left out: reading
//! the numbers (`factors`).

use std::collections::BTreeMap;

use crate::weights::names::lora::{Place, Role, Rows};
use crate::weights::{TensorInfo, WeightFile};

/// The keys of a module by their roles.
pub(super) type Keys<'a> = BTreeMap<Role, &'a str>;

/// A change of a matrix.
#[derive(Debug)]
pub(super) struct Change {
    pub place: Place,
    pub kind: Kind,
    /// DoRA: the lengths that the changed rows or columns get.
    pub magnitude: Option<Magnitude>,
    /// What the change is multiplied by before any strength: alpha / rank.
    pub scale: f32,
}

/// How the file holds a change of a matrix `[rows, columns]`.
#[derive(Debug)]
pub(super) enum Kind {
    /// LoRA.
    Pair(Product),
    /// LoKr: the Kronecker product of two matrices.
    Kron { left: Factor, right: Factor },
    /// LoHa: the products of the numbers of two matrices.
    Hadamard(Product, Product),
    /// All numbers.
    Whole(Whole),
}

/// A matrix that is stored as it is.
#[derive(Debug)]
pub(super) struct Whole {
    pub key: String,
    pub shape: [usize; 2],
}

/// A matrix that is stored as a product: `left right`, or `left core right`.
#[derive(Debug)]
pub(super) struct Product {
    /// `[rows, rank]`, or its transpose.
    pub left: String,
    pub is_left_transposed: bool,
    pub core: Option<String>,
    /// `[rank, columns]`.
    pub right: String,
    /// Of the product.
    pub shape: [usize; 2],
    /// Rows of `right`.
    pub rank: usize,
}

/// A factor of a Kronecker product.
#[derive(Debug)]
pub(super) enum Factor {
    Whole(Whole),
    Product(Product),
}

/// DoRA's magnitude.
#[derive(Debug)]
pub(super) struct Magnitude {
    pub key: String,
    pub axis: Axis,
}

/// What has a length of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    /// Each row: PEFT, and LyCORIS with `wd_on_out`.
    Rows,
    /// Each column: LyCORIS before that.
    Columns,
}

/// A change of a bias, or of a norm's weight.
#[derive(Debug)]
pub(super) struct VectorChange {
    pub place: Place,
    /// Our tensor.
    pub tensor: String,
    pub key: String,
    pub how: How,
}

/// What happens to a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum How {
    /// So many times the file's numbers are added.
    Add(f32),
    /// The file's numbers stand in place of it.
    Replace,
}

/// The numbers of keys that change something else than the transformer.
#[derive(Debug, Default)]
pub(super) struct Besides {
    /// CLIP and T5.
    pub text_encoders: usize,
    /// Their words.
    pub embeddings: usize,
}

/// How a change is kept beside its matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A pair of matrices of this rank.
    LowRank(usize),
    /// Two factors.
    Kron,
    /// All its numbers.
    Dense,
}

impl Change {
    /// How it is kept beside a matrix of this shape: exactly, and in the fewest numbers.
    pub fn form(&self, [out, input]: [usize; 2]) -> Form {
        if self.is_by_columns() {
            return Form::Dense;
        }
        let rows = self.place.rows.range([out, input]).len();
        match &self.kind {
            Kind::Pair(pair) => Form::LowRank(pair.rank),
            Kind::Hadamard(first, second) => match first.rank * second.rank {
                rank if rank.saturating_mul(out + input) <= rows * input => Form::LowRank(rank),
                _ => Form::Dense,
            },
            Kind::Kron { .. } if self.place.rows == Rows::HalvesSwapped => Form::Dense,
            Kind::Kron { .. } => Form::Kron,
            Kind::Whole(_) => Form::Dense,
        }
    }

    /// Numbers that it takes beside a matrix of this shape.
    pub fn numbers(&self, [out, input]: [usize; 2]) -> usize {
        let rows = self.place.rows.range([out, input]).len();
        let lengths = match &self.magnitude {
            Some(Magnitude {
                axis: Axis::Rows, ..
            }) => 2 * out,
            _ => 0,
        };
        lengths
            + match (self.form([out, input]), &self.kind) {
                (Form::LowRank(rank), _) => rank * (out + input),
                (Form::Kron, Kind::Kron { left, right }) => {
                    let [a, c] = left.shape();
                    a * c + right.numbers()
                }
                _ => rows * input,
            }
    }

    /// The keys of its factors.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let (first, second): (Vec<&str>, Vec<&str>) = match &self.kind {
            Kind::Pair(pair) => (pair.keys(), vec![]),
            Kind::Kron { left, right } => (left.keys(), right.keys()),
            Kind::Hadamard(first, second) => (first.keys(), second.keys()),
            Kind::Whole(whole) => (vec![&whole.key], vec![]),
        };
        first.into_iter().chain(second)
    }

    fn is_by_columns(&self) -> bool {
        let axis = self.magnitude.as_ref().map(|magnitude| magnitude.axis);
        axis == Some(Axis::Columns)
    }
}

impl Kind {
    /// The kind of a module's change; `None` for a module that changes vectors alone.
    ///
    /// # Errors
    /// What is wrong with the module.
    pub fn of(file: &WeightFile, module: &str, keys: &Keys<'_>) -> Result<Option<Self>, String> {
        let finder = Finder { file, module, keys };
        let pair = finder.product([Role::Up, Role::Down], Core::Plain(Role::Mid))?;
        let left = finder.factor(
            Role::KronLeft,
            [Role::KronLeftA, Role::KronLeftB],
            Core::None,
        )?;
        let core = Core::Transposing(Role::KronRightCore);
        let right = finder.factor(Role::KronRight, [Role::KronRightA, Role::KronRightB], core)?;
        let core = Core::Transposing(Role::Hada1Core);
        let first = finder.product([Role::Hada1A, Role::Hada1B], core)?;
        let core = Core::Transposing(Role::Hada2Core);
        let second = finder.product([Role::Hada2A, Role::Hada2B], core)?;
        let kron = match (left, right) {
            (Some(left), Some(right)) => Some(Self::Kron { left, right }),
            (None, None) => None,
            _ => return Err(format!("`{module}` has one factor of a LoKr only")),
        };
        let hadamard = match (first, second) {
            (Some(first), Some(second)) if first.shape == second.shape => {
                Some(Self::Hadamard(first, second))
            }
            (None, None) => None,
            (Some(first), Some(second)) => {
                return Err(format!(
                    "`{module}`: the products of its LoHa have shapes {:?} and {:?}",
                    first.shape, second.shape
                ));
            }
            _ => return Err(format!("`{module}` has one half of a LoHa only")),
        };
        let whole = finder.tensor(Role::Difference)?.map(Self::Whole);
        let mut found = [pair.map(Self::Pair), kron, hadamard, whole]
            .into_iter()
            .flatten();
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(format!("`{module}` has more than one kind of change")),
            (kind, None) => Ok(kind),
        }
    }

    /// The shape of the change.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Pair(pair) => pair.shape,
            Self::Hadamard(first, _) => first.shape,
            Self::Whole(whole) => whole.shape,
            Self::Kron { left, right } => {
                let ([a, c], [b, d]) = (left.shape(), right.shape());
                [a.saturating_mul(b), c.saturating_mul(d)]
            }
        }
    }

    /// The rank that alpha is divided by.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Self::Pair(pair) => Some(pair.rank),
            Self::Hadamard(first, _) => Some(first.rank),
            Self::Whole(_) => None,
            Self::Kron { left, right } => right.rank().or(left.rank()),
        }
    }

    /// Keys whose own shapes tell those of the change: of its rows, and of its columns.
    pub fn outer_keys(&self) -> Option<[&str; 2]> {
        match self {
            Self::Pair(pair) => Some([&pair.left, &pair.right]),
            Self::Whole(whole) => Some([&whole.key, &whole.key]),
            _ => None,
        }
    }
}

impl Product {
    fn keys(&self) -> Vec<&str> {
        let core = self.core.as_deref();
        [Some(self.right.as_str()), core, Some(&self.left)]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl Factor {
    fn keys(&self) -> Vec<&str> {
        match self {
            Self::Whole(whole) => vec![&whole.key],
            Self::Product(product) => product.keys(),
        }
    }

    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Whole(whole) => whole.shape,
            Self::Product(product) => product.shape,
        }
    }

    fn rank(&self) -> Option<usize> {
        match self {
            Self::Whole(_) => None,
            Self::Product(product) => Some(product.rank),
        }
    }

    fn numbers(&self) -> usize {
        let [rows, columns] = self.shape();
        match self {
            Self::Whole(_) => rows * columns,
            Self::Product(product) => product.rank * (rows + columns),
        }
    }
}

impl Magnitude {
    /// The magnitude of a module, for a change of this shape.
    ///
    /// # Errors
    /// For a shape that is neither that of the rows nor that of the columns.
    pub fn of(file: &WeightFile, key: &str, [rows, columns]: [usize; 2]) -> Result<Self, String> {
        let shape = &file.tensors()[key].shape;
        let axis = match trimmed(shape) {
            [length] | [length, 1] if *length == rows => Axis::Rows,
            [1, length] if *length == columns => Axis::Columns,
            // `[1, 1]` is cut to `[1]`.
            [1] if columns == 1 => Axis::Columns,
            _ => {
                return Err(format!(
                    "`{key}` has shape {shape:?}, its change is {:?}",
                    [rows, columns]
                ));
            }
        };
        let key = key.to_owned();
        Ok(Self { key, axis })
    }
}

/// What may stand between the halves of a product.
#[derive(Debug, Clone, Copy)]
enum Core {
    None,
    Plain(Role),
    /// The left half is stored transposed beside it.
    Transposing(Role),
}

/// The tensors of one module.
struct Finder<'a> {
    file: &'a WeightFile,
    module: &'a str,
    keys: &'a Keys<'a>,
}

impl Finder<'_> {
    fn tensor(&self, role: Role) -> Result<Option<Whole>, String> {
        let Some(&key) = self.keys.get(&role) else {
            return Ok(None);
        };
        let shape = matrix_shape(&self.file.tensors()[key]);
        let shape = shape.ok_or_else(|| {
            let found = &self.file.tensors()[key].shape;
            format!("`{key}` has shape {found:?}, which is no matrix")
        })?;
        let key = key.to_owned();
        Ok(Some(Whole { key, shape }))
    }

    fn factor(&self, whole: Role, halves: [Role; 2], core: Core) -> Result<Option<Factor>, String> {
        match (self.tensor(whole)?, self.product(halves, core)?) {
            (Some(_), Some(_)) => Err(format!("`{}` has a factor twice", self.module)),
            (whole, product) => Ok(whole.map(Factor::Whole).or(product.map(Factor::Product))),
        }
    }

    fn product(&self, [left, right]: [Role; 2], core: Core) -> Result<Option<Product>, String> {
        let (left, right) = (self.tensor(left)?, self.tensor(right)?);
        let (core, transposes) = match core {
            Core::None => (None, false),
            Core::Plain(role) => (self.tensor(role)?, false),
            Core::Transposing(role) => (self.tensor(role)?, true),
        };
        let is_left_transposed = transposes && core.is_some();
        self.joined(left, core, right, is_left_transposed)
    }

    fn joined(
        &self,
        left: Option<Whole>,
        core: Option<Whole>,
        right: Option<Whole>,
        is_left_transposed: bool,
    ) -> Result<Option<Product>, String> {
        let (left, right) = match (left, right, &core) {
            (Some(left), Some(right), _) => (left, right),
            (None, None, None) => return Ok(None),
            _ => return Err(format!("`{}` has one half of a pair only", self.module)),
        };
        let [rows, inner] = match (left.shape, is_left_transposed) {
            (shape, false) => shape,
            ([inner, rows], true) => [rows, inner],
        };
        let [rank, columns] = right.shape;
        let between = core.as_ref().map_or([inner, rank], |core| core.shape);
        if between != [inner, rank] || (core.is_none() && inner != rank) {
            return Err(format!(
                "`{}` of shape {:?} does not fit to `{}` of shape {:?}",
                right.key, right.shape, left.key, left.shape
            ));
        }
        Ok(Some(Product {
            left: left.key,
            is_left_transposed,
            core: core.map(|core| core.key),
            right: right.key,
            shape: [rows, columns],
            rank,
        }))
    }
}

/// A shape without the ones at its end, but for the first axis.
fn trimmed(shape: &[usize]) -> &[usize] {
    let mut shape = shape;
    while let [first @ .., 1] = shape
        && !first.is_empty()
    {
        shape = first;
    }
    shape
}

/// The shape of a matrix that is not empty, or of a convolution of 1 x 1.
fn matrix_shape(info: &TensorInfo) -> Option<[usize; 2]> {
    match info.shape.as_slice() {
        [rows, columns, rest @ ..] if rest.iter().all(|&size| size == 1) => Some([*rows, *columns]),
        _ => None,
    }
    .filter(|shape| !shape.contains(&0))
}
