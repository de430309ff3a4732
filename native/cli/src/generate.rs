//! `x2i generate`: plans the jobs, loads the model, generates and writes the images.

use anyhow::Result;
use x2i_engine::Record;
use x2i_engine::files::Trust;
use x2i_engine::format::QUALITY;

use crate::flags::GenerateArgs;
use crate::jobs;
use crate::painter::{self, Painter};
use crate::terminal::{Display, Interrupt, tell, tell_skipped};

/// Runs `x2i generate`.
///
/// # Errors
/// Errors from flags, files, the model, the device or the disk; [`x2i_core::Error::Cancelled`] on
/// Ctrl-C.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let display = Display::choose(args.quiet, args.json);
    let terminal = (display, Interrupt::listen()?);
    let record = args.from.as_deref().map(Record::read).transpose()?;
    let record = record.map(|record| match args.trust {
        true => record.trusting(Trust::Anything),
        false => record,
    });
    let model = painter::model(&args.engine, &args.adapters, record.as_ref())?;
    let options = painter::options(&args.engine, record.as_ref());
    let interrupt = terminal.1.clone();
    let cancelled = || interrupt.is_set();
    let mut plan = jobs::plan(args, &model, record.as_ref(), &options, &cancelled)?;
    tell_skipped(display, plan.skipped(), plan.len())?;
    if plan.is_empty() {
        return Ok(());
    }
    let requests = plan.requests();
    let mut painter = Painter::open(&args.engine, model, record.as_ref(), &requests, terminal)?;
    painter.quality = args.quality.unwrap_or(QUALITY);
    for index in 0..plan.len() {
        let count = plan.len();
        let job = plan.job(index, painter.engine.model(), &cancelled)?;
        let painted = painter.paint(job, index + 1, count);
        let (painted, seconds) = plan.placed(index, painted)?;
        let output = plan.output(index);
        if let (0, Some(record)) = (index, &record) {
            let warning = record.model_warning(painter.engine.hashes()?);
            painter.display.warn(warning);
        }
        tell(painter.display, output, &painted, seconds)?;
    }
    Ok(())
}
