//! The thread that makes files of images while the device paints on.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use x2i_core::Image;
use x2i_engine::format::QUALITY;
use x2i_engine::{Conditioned, Painted};

use super::desk::{Desk, News};
use crate::conditioning;
use crate::job::{Failure, FileOrder, InputId, JobId, Output, Preview};
use crate::measure;

/// Images that may wait for their file, so that memory is bounded.
const WAITING: usize = 2;
/// The longest side of a preview, in pixels.
const PREVIEW_SIDE: u32 = 512;

/// What is made into a file, in the order of time.
pub(super) enum Made {
    /// A finished image, its number and its file.
    Image(JobId, usize, Box<Painted>, FileOrder),
    /// An image as it looks after a step.
    Preview(JobId, Image, Preview),
    /// Conditioning for other samplers.
    Conditioning(JobId, Conditioned),
    /// The job is over.
    Over(JobId, Result<(), Failure>),
}

/// The thread's other end.
pub(super) struct Encoder {
    made: SyncSender<Made>,
    thread: JoinHandle<()>,
}

impl Encoder {
    pub(super) fn start(desk: Arc<dyn Desk>) -> io::Result<Self> {
        let (made, waiting) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("x2i-encoder".into());
        let thread = thread.spawn(move || encode_all(&waiting, desk.as_ref()))?;
        Ok(Self { made, thread })
    }

    /// Hands something over; waits while too much waits already.
    pub(super) fn hand(&self, made: Made) {
        let _ = self.made.send(made); // its thread ends after this end alone
    }

    /// Waits until everything is told.
    pub(super) fn finish(self) {
        drop(self.made);
        let _ = self.thread.join(); // a panic was printed
    }
}

fn encode_all(waiting: &Receiver<Made>, desk: &dyn Desk) {
    let mut failed: Option<(JobId, Failure)> = None;
    while let Ok(made) = waiting.recv() {
        match made {
            Made::Image(job, index, painted, file) => match image(&painted, index, file) {
                Ok((output, bytes)) => desk.output(job, output, bytes),
                Err(failure) => failed = Some((job, failure)),
            },
            Made::Preview(job, image, preview) => {
                if let Some(png) = small_png(&image) {
                    desk.tell(job, News::Preview(Preview { png, ..preview }));
                }
            }
            Made::Conditioning(job, conditioned) => {
                let bytes = conditioning::to_safetensors(&conditioned);
                desk.output(job, conditioning_output(&bytes), bytes);
            }
            Made::Over(job, outcome) => {
                let failed = failed.take().filter(|(failed, _)| *failed == job);
                desk.over(job, failed.map_or(outcome, |(_, failure)| Err(failure)));
            }
        }
    }
}

fn image(painted: &Painted, index: usize, order: FileOrder) -> Result<(Output, Vec<u8>), Failure> {
    let begun = Instant::now();
    let bytes = painted.file(order.format.format(), order.quality.unwrap_or(QUALITY))?;
    measure::stage("encode_file", begun.elapsed());
    let output = Output {
        index,
        media_type: order.format.media_type().into(),
        bytes: bytes.len() as u64,
        sha256: digest(&bytes),
        seed: Some(painted.metadata.seed),
        width: Some(painted.image.width()),
        height: Some(painted.image.height()),
    };
    Ok((output, bytes))
}

fn conditioning_output(bytes: &[u8]) -> Output {
    Output {
        index: 0,
        media_type: conditioning::MEDIA_TYPE.into(),
        bytes: bytes.len() as u64,
        sha256: digest(bytes),
        seed: None,
        width: None,
        height: None,
    }
}

fn digest(bytes: &[u8]) -> String {
    InputId::from_digest(Sha256::digest(bytes).as_slice()).into()
}

/// A small PNG without a record; `None` where the encoder refuses, since a preview is not needed.
fn small_png(image: &Image) -> Option<Bytes> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    let pixels = image::RgbImage::from_raw(width, height, image.pixels().to_vec())?;
    let pixels = match width.max(height) > PREVIEW_SIDE {
        true => image::DynamicImage::from(pixels)
            .thumbnail(PREVIEW_SIDE, PREVIEW_SIDE)
            .into_rgb8(),
        false => pixels,
    };
    let mut bytes = io::Cursor::new(vec![]);
    pixels.write_to(&mut bytes, image::ImageFormat::Png).ok()?;
    Some(bytes.into_inner().into())
}
