//! `x2i generate`: plans the jobs, loads the model, generates and writes the images.

use anyhow::Result;
use x2i_engine::files::Trust;
use x2i_engine::format::QUALITY;
use x2i_engine::{Record, Sharing};

use crate::flags::GenerateArgs;
use crate::jobs;
use crate::painter::{self, Painter};
use crate::spread::Spread;
use crate::terminal::{Display, Interrupt, Reporter, tell, tell_skipped};

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
    let model = painter::model(&args.engine, &args.adapters, record.as_ref(), &terminal)?;
    let options = painter::options(&args.engine, record.as_ref());
    let interrupt = terminal.1.clone();
    let cancelled = || interrupt.is_set();
    let mut plan = jobs::plan(args, &model, record.as_ref(), &options, &cancelled)?;
    tell_skipped(display, plan.skipped(), plan.len())?;
    if plan.is_empty() {
        return Ok(());
    }
    let requests = plan.requests();
    let devices = painter::ready(&args.engine, &model, record.as_ref(), &requests, display)?;
    let quality = args.quality.unwrap_or(QUALITY);
    let devices = match Sharing::of(&model, devices, &options, plan.len())? {
        Sharing::Blocks(devices) => devices,
        Sharing::Pictures(devices) => {
            let spread = Spread {
                model: &model,
                record: record.as_ref(),
                quality,
                display,
                interrupt,
            };
            return spread.paint(plan, devices);
        }
    };
    let reporter = Reporter::new(display, terminal.1);
    let mut painter = Painter::on(devices, model, &options, reporter, (1, plan.len()))?;
    painter.quality = quality;
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
