//! Reads the syntax of all crates: who names whose items. The house rules (`rules/`) are its tests.
//!
//! [`names`] reads every `use` and every path in code with `syn`; [`modules`] follows each to the
//! file that defines the item; [`graph`] draws the edges; [`page`] reads the tables of
//! ARCHITECTURE.md that say who may import whom.
//!
//! What needs types can't be seen: a method call names no file, and neither does the use of a trait's
//! implementation. Nor are names seen in strings (`"{NAME}"`, `#[serde(with = "module")]`) and in what
//! macros of other crates expand to.

pub mod circles;
pub mod graph;
pub mod house;
pub mod modules;
pub mod names;
pub mod page;
pub mod source;
