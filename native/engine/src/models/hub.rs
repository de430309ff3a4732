//! Models of the Hugging Face Hub: its cache on this machine, which is read and written, and, with the
//! cargo feature `hub`, downloads into it.
//!
//! The cache is laid out as huggingface_hub lays it out, so that each program finds what the other has
//! downloaded. Nothing is asked of a network but by `Hub`. Not here: uploads, data sets, spaces, and the
//! Xet protocol (the Hub serves its files over HTTP too).
#![cfg_attr(
    feature = "hub",
    doc = r#"
```no_run
use x2i_engine::models::hub::{Hub, HubOptions, Reference, ignore_pulled};

# fn main() -> x2i_engine::Result<()> {
let reference: Reference = "OPPOer/X2I".parse()?;
let hub = Hub::new(HubOptions::of_environment()?)?;
let plan = hub.plan(&reference, &ignore_pulled)?;
println!("{} bytes to download", plan.missing());
let folder = hub.pull(&plan, &ignore_pulled)?;
println!("it is in {}", folder.display());
# Ok(())
# }
```
"#
)]

mod cache;
mod listing;
mod paths;
mod reference;

#[cfg(feature = "hub")]
mod answers;
#[cfg(feature = "hub")]
mod choice;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod glob;
#[cfg(feature = "hub")]
mod meter;
#[cfg(feature = "hub")]
mod names;
#[cfg(feature = "hub")]
mod options;
#[cfg(feature = "hub")]
mod parts;
#[cfg(feature = "hub")]
mod patience;
#[cfg(feature = "hub")]
mod place;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "hub")]
mod repository;
#[cfg(feature = "hub")]
mod roots;
#[cfg(feature = "hub")]
mod verify;

pub use cache::Cache;
pub(super) use cache::{repository_name, snapshot};
pub use listing::{CachedModel, CachedRevision, list, remove};
#[cfg(feature = "hub")]
pub use meter::{OnPulled, Pulled, Pulling, ignore_pulled};
#[cfg(feature = "hub")]
pub use options::{HubOptions, Network};
pub(super) use paths::{cached, resolve};
#[cfg(feature = "hub")]
pub use pull::{Hub, Plan, PlannedFile};
pub use reference::Reference;
