//! What a client asks for, and what becomes of it. The same forms go over HTTP, through the queue in memory and
//! through NATS.

mod event;
mod failure;
mod id;
mod order;
mod state;

pub use event::{Event, Preview};
pub use failure::{Code, Failure};
pub use id::{InputId, JobId};
pub use order::{
    ControlOrder, FileOrder, ImageFormat, InitOrder, InputFile, LoraOrder, MAX_IMAGES, Numbers,
    Order, PartOrder, TurnOrder, Wanted,
};
pub(crate) use state::now;
pub use state::{JobState, Output, Progress, Stage, Status};
