//! Training of x2i's parts: data sets, the order of their samples, and caches of what is computed once.
//!
//! A data set is opened once ([`data::Dataset::open`]), which finds every sample and says in one line
//! each what can't be used. [`data::Order`] tells which sample comes next, from a seed and one number.
//! [`cache::Cache`] keeps latents and the states of text encoders on disk.
//!
//! Left out: the mathematics of training (`x2i-core`), flags, and the terminal.

pub mod align;
pub mod cache;
pub mod control;
pub mod data;
mod flow;
mod inputs;
mod layer_scales;
pub mod lora;
mod paint;
mod parts;
pub mod run;
mod states;
mod store;
