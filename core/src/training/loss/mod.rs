//! What a model learns from.

mod attention;
mod flow_matching;

pub use attention::{attention_divergence, relative_error};
pub use flow_matching::{Density, TABLE, Weighting, flow_matching_loss, flux_shift, table_sigma};
