//! Shows the progress of an image: a bar on a terminal, lines elsewhere, JSON for scripts, or nothing.
//! Cancels between two blocks after Ctrl-C.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use x2i_core::{Phase, Progress, PromptTokens, Steps};

use super::display::Display;
use super::interrupt::Interrupt;
use super::seconds::Seconds;
use super::text::printable;

/// Shows progress, keeps the time of each phase, and cancels on Ctrl-C.
pub struct Reporter {
    display: Display,
    interrupt: Interrupt,
    bar: ProgressBar,
    /// The bars of several devices, which share the terminal.
    bars: Option<MultiProgress>,
    /// `(2, 4)` for the second of four images; `None` for a single one.
    picture: Option<(usize, usize)>,
    phase: Option<Phase>,
    step: usize,
    phase_began: Instant,
    step_began: Instant,
    seconds: Seconds,
    /// True when answers are printed as soon as they are complete.
    says_answers: bool,
    /// True after the warning of a cut prompt.
    has_warned: bool,
}

impl Reporter {
    /// A reporter before the first event.
    pub fn new(display: Display, interrupt: Interrupt) -> Self {
        let now = Instant::now();
        Self {
            display,
            interrupt,
            bar: ProgressBar::hidden(),
            bars: None,
            picture: None,
            phase: None,
            step: 0,
            phase_began: now,
            step_began: now,
            seconds: Seconds::default(),
            says_answers: false,
            has_warned: false,
        }
    }

    /// The same with its bar among those of other devices.
    pub fn among(self, bars: &MultiProgress) -> Self {
        Self {
            bars: Some(bars.clone()),
            ..self
        }
    }

    /// How progress is shown.
    pub fn display(&self) -> Display {
        self.display
    }

    /// From now on, prints the LLM's answers to standard output as soon as they are complete.
    pub fn say_answers(&mut self) {
        self.says_answers = true;
    }

    /// Begins an image, the `number`-th of `count`.
    pub fn begin_picture(&mut self, number: usize, count: usize) {
        self.end_phase();
        self.has_warned = false;
        self.picture = (count > 1).then_some((number, count));
        self.bar.finish_and_clear();
        self.bar = bar(self.display); // a finished bar can't be used again
        if let (Display::Bar, Some(bars)) = (self.display, &self.bars) {
            self.bar = bars.add(self.bar.clone());
        }
        self.seconds = Seconds {
            load: self.seconds.load,
            ..Seconds::default()
        };
    }

    /// Ends an image; returns the seconds of its phases.
    pub fn end_picture(&mut self) -> Seconds {
        self.end_phase();
        self.bar.finish_and_clear();
        let seconds = self.seconds;
        self.seconds.load = 0.0; // loading counts for the first image only
        seconds
    }

    /// Removes the bar, so that a message does not overlap it.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Handles one progress event; `Break` after Ctrl-C.
    pub fn hear(&mut self, progress: Progress) -> ControlFlow<()> {
        if self.interrupt.is_set() {
            return ControlFlow::Break(());
        }
        if self.phase != Some(progress.phase) {
            self.end_phase();
            self.phase = Some(progress.phase);
            self.bar.reset();
        }
        if let Some(answer) = progress.answer.as_deref().filter(|_| self.says_answers) {
            let answer = printable(answer);
            // A closed stdout is reported when the line of the image is written.
            let _ = self.bar.suspend(|| writeln!(std::io::stdout(), "{answer}"));
        }
        if let Some(tokens) = progress.prompt_tokens {
            self.warn_of_cut(tokens);
        }
        let Steps { done: step, total } = progress.steps.unwrap_or(Steps { done: 0, total: 0 });
        match self.display {
            Display::Bar => self.draw(&progress),
            Display::Lines if step > self.step => {
                self.line(format!("step {step}/{total}"), self.step_began)
            }
            Display::Json => self.event(&progress),
            Display::Lines | Display::Quiet => {}
        }
        if step > self.step {
            self.step = step;
            self.step_began = Instant::now();
        }
        ControlFlow::Continue(())
    }

    /// Words that the model never sees are worth a line before the long work.
    fn warn_of_cut(&mut self, PromptTokens { read, left }: PromptTokens) {
        if left == 0 || std::mem::replace(&mut self.has_warned, true) {
            return;
        }
        let image = self.picture;
        let image = image.map_or_else(String::new, |(number, count)| {
            format!("image {number}/{count}: ")
        });
        let warning = format!(
            "{image}the prompt has {} tokens, and the model reads {read}: the last {left} are left out",
            read + left
        );
        self.bar.suspend(|| self.display.warn([warning]));
    }

    fn end_phase(&mut self) {
        if let Some(phase) = self.phase.take() {
            *self.seconds.of(phase) += self.phase_began.elapsed().as_secs_f64();
            // Each step has already printed its line.
            if phase != Phase::Denoise && self.display == Display::Lines {
                self.line(past(phase).to_owned(), self.phase_began);
            }
        }
        self.step = 0;
        self.phase_began = Instant::now();
        self.step_began = self.phase_began;
    }

    fn draw(&self, progress: &Progress) {
        self.bar.set_prefix(present(progress.phase));
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        let mut message = match progress.steps {
            Some(Steps { done, total }) => format!("step {}/{total}", (done + 1).min(total)),
            None => String::new(),
        };
        let elapsed = self.phase_began.elapsed();
        if let Some(left) = remaining(elapsed, progress)
            && elapsed > Duration::from_secs(1)
        {
            message.push_str(&format!("  {} left", clock(left)));
        }
        if let Some((number, count)) = self.picture {
            message.push_str(&format!("  image {number}/{count}"));
        }
        self.bar.set_message(message.trim_start().to_owned());
    }

    fn line(&self, what: String, since: Instant) {
        let image = self
            .picture
            .map(|(number, count)| format!("image {number}/{count}: "))
            .unwrap_or_default();
        // A closed stderr must not stop the work.
        let _ = writeln!(
            std::io::stderr(),
            "{image}{what}, {:.1} s",
            since.elapsed().as_secs_f64()
        );
    }

    fn event(&self, progress: &Progress) {
        let mut event = json!({
            "type": "progress",
            "phase": name(progress.phase),
            "done": progress.done,
            "total": progress.total,
        });
        if let Some(Steps { done, total }) = progress.steps {
            event["step"] = done.into();
            event["steps"] = total.into();
        }
        if let Some((number, count)) = self.picture {
            event["picture"] = number.into();
            event["pictures"] = count.into();
        }
        let _ = writeln!(std::io::stdout(), "{event}");
    }
}

fn bar(display: Display) -> ProgressBar {
    if display != Display::Bar {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{prefix:>6} {bar:28.cyan/dim} {msg}") {
        Ok(style) => bar.with_style(style.progress_chars("━╸─")),
        Err(_) => bar, // the template is valid; the default style would do
    }
}

/// The estimated rest of a phase, at the speed so far.
fn remaining(elapsed: Duration, progress: &Progress) -> Option<Duration> {
    let left = progress.total.checked_sub(progress.done)?;
    (progress.done > 0 && left > 0).then(|| elapsed.mul_f64(left as f64 / progress.done as f64))
}

/// `5 s`, `2 min 05 s`, `1 h 07 min`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs() + 1; // rounded up: "0 s left" would be odd
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Encode => "encode",
        Phase::Denoise => "denoise",
        Phase::Decode => "decode",
    }
}

fn present(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Encode => "read",
        Phase::Denoise => "paint",
        Phase::Decode => "decode",
    }
}

fn past(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "model loaded",
        Phase::Encode => "prompt read",
        Phase::Denoise => "painted",
        Phase::Decode => "decoded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: usize, total: usize) -> Progress {
        Progress::count(Phase::Denoise, done, total)
    }

    #[test]
    fn the_rest_is_estimated_from_the_pace() {
        let second = Duration::from_secs(1);
        assert_eq!(remaining(second, &at(1, 4)), Some(3 * second));
        assert_eq!(remaining(second, &at(0, 4)), None);
        assert_eq!(remaining(second, &at(4, 4)), None);
    }

    #[test]
    fn times_read_well() {
        assert_eq!(clock(Duration::from_secs(4)), "5 s");
        assert_eq!(clock(Duration::from_secs(124)), "2 min 05 s");
        assert_eq!(clock(Duration::from_secs(4019)), "1 h 07 min");
    }

    #[test]
    fn an_interrupt_cancels_at_the_next_event() {
        let interrupt = Interrupt::default();
        let mut reporter = Reporter::new(Display::Quiet, interrupt.clone());
        assert_eq!(reporter.hear(at(0, 4)), ControlFlow::Continue(()));
        interrupt.set();
        assert_eq!(reporter.hear(at(1, 4)), ControlFlow::Break(()));
    }
}
