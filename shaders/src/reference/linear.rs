//! `x Wᵀ + b` by its definition, which the products of `x2i-cpu` are compared with too.

pub use x2i_cpu::reference::linear;
