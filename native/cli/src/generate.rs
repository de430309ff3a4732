//! `x2i generate`: plans the jobs, loads the model, generates and writes the images.

use anyhow::Result;
use x2i_engine::Record;
use x2i_engine::format::QUALITY;

use crate::flags::GenerateArgs;
use crate::jobs;
use crate::painter::{self, Painter};
use crate::terminal::{Display, Interrupt, tell};

/// Runs `x2i generate`.
///
/// # Errors
/// Errors from flags, files, the model, the device or the disk; [`x2i_core::Error::Cancelled`] on
/// Ctrl-C.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let terminal = (Display::choose(args.quiet, args.json), Interrupt::listen()?);
    let record = args.from.as_deref().map(Record::read).transpose()?;
    let model = painter::model(&args.engine, &args.adapters, record.as_ref())?;
    let jobs = jobs::plan(args, &model, record.as_ref())?;
    let mut painter = Painter::open(&args.engine, model, record.as_ref(), &jobs, terminal)?;
    painter.quality = args.quality.unwrap_or(QUALITY);
    for (index, job) in jobs.iter().enumerate() {
        let (painted, seconds) = painter.paint(job, index + 1, jobs.len())?;
        if let (0, Some(record)) = (index, &record) {
            let warning = record.model_warning(painter.engine.hashes()?);
            painter.display.warn(warning);
        }
        tell(painter.display, job.output(), &painted, seconds)?;
    }
    Ok(())
}
