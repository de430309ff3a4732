//! The whole encoder on a model of a few thousand made-up weights.
