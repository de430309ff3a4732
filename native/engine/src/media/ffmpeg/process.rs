//! Runs a program and reads its output until it ends, fails, takes too long or is no longer wanted.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use x2i_core::Error;

use super::child::Guarded;
use crate::media::kind::Kind;

/// How often it is asked whether the output is still wanted.
const PATIENCE: Duration = Duration::from_millis(50);
/// The last bytes of its error output that are kept.
const LAST_WORDS: usize = 4096;
/// ffmpeg's words for a frame larger than [`VIDEO_PIXELS`](crate::media::limits::VIDEO_PIXELS); the
/// lines after it only tell what followed.
const TOO_LARGE: &str = "exceeds specified max pixel count";

/// Why a program gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The caller said so.
    Cancelled,
    /// The reason, as the end of a message about the file.
    Reason(String),
}

impl Failure {
    /// The error of the file `name`.
    pub fn error(self, kind: Kind, name: &str) -> Error {
        match self {
            Self::Cancelled => Error::Cancelled,
            Self::Reason(reason) => kind.error(name, reason),
        }
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Self::Reason(reason.to_owned())
    }
}

/// A program with its arguments.
pub struct Call<'a> {
    /// The program, which is found in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The longest time that it may take.
    pub time: Duration,
    /// What to do without the program, as the end of a message.
    pub instead: &'static str,
    /// Asked often; `true` stops the program.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Call<'_> {
    fn spawn(&self) -> Result<Guarded, String> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Guarded::spawn(&mut command).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "can't be read without the program {}; install ffmpeg (Debian: apt install ffmpeg), or {}",
                self.name(),
                self.instead
            ),
            _ => format!("{} can't be started: {error}", self.name()),
        })
    }

    fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Runs a program, reads items of its output with `read` and hands them to `keep`, which returns
/// `false` to stop.
///
/// # Errors
/// [`Failure`] when the program is missing, fails (with the line of its error output that says why),
/// takes too long, or is cancelled.
pub fn run<T: Send + 'static>(
    call: &Call,
    read: impl FnMut(&mut dyn BufRead) -> io::Result<Option<T>> + Send + 'static,
    keep: &mut impl FnMut(T) -> bool,
) -> Result<(), Failure> {
    let end = Instant::now() + call.time;
    let mut program = call.spawn()?;
    let pipes = (program.child.stdout.take(), program.child.stderr.take());
    let (Some(output), Some(errors)) = pipes else {
        return Err(format!("{} has no output", call.name()).into());
    };
    let output = listen(BufReader::new(output), read);
    let words = LastWords::listen(errors);
    let failed = |what: String| match words.line() {
        Some(line) => Failure::Reason(format!("{} {what}: {line}", call.name())),
        None => Failure::Reason(format!("{} {what}", call.name())),
    };
    let late = || failed(format!("took more than {:?} and was stopped", call.time));
    loop {
        if (call.cancelled)() {
            return Err(Failure::Cancelled);
        }
        if Instant::now() > end {
            return Err(late());
        }
        match output.recv_timeout(PATIENCE) {
            Ok(Ok(item)) => {
                if !keep(item) {
                    return Ok(());
                }
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    loop {
        match program.outcome() {
            Some(true) => return Ok(()),
            Some(false) => return Err(failed("failed".into())),
            None if (call.cancelled)() => return Err(Failure::Cancelled),
            None if Instant::now() > end => return Err(late()),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Reads items on a thread, a few of them ahead.
fn listen<T: Send + 'static>(
    mut output: impl BufRead + Send + 'static,
    mut read: impl FnMut(&mut dyn BufRead) -> io::Result<Option<T>> + Send + 'static,
) -> Receiver<io::Result<T>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        while let Some(item) = read(&mut output).transpose() {
            let last = item.is_err();
            if sender.send(item).is_err() || last {
                break;
            }
        }
    });
    receiver
}

/// The end of a program's error output.
struct LastWords {
    words: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl LastWords {
    fn listen(mut errors: ChildStderr) -> Self {
        let words = Arc::new(Mutex::new(vec![]));
        let (sender, ended) = mpsc::channel();
        let shared = words.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(count @ 1..) = errors.read(&mut piece) {
                if let Ok(mut words) = shared.lock() {
                    words.extend_from_slice(&piece[..count]);
                    let excess = words.len().saturating_sub(LAST_WORDS);
                    words.drain(..excess);
                }
            }
            let _ = sender.send(());
        });
        Self { words, ended }
    }

    /// The line that says why. Waits for the rest of the output when the program has ended.
    fn line(&self) -> Option<String> {
        let _ = self.ended.recv_timeout(Duration::from_millis(500));
        let words = self.words.lock().ok()?;
        reason(&String::from_utf8_lossy(&words))
    }
}

/// The last line that is not empty and no counter of repetitions, or that of a frame too large.
fn reason(words: &str) -> Option<String> {
    let lines = words.lines().map(str::trim);
    let mut telling = lines.filter(|line| !line.is_empty() && !line.starts_with("Last message"));
    let first = telling.clone().find(|line| line.contains(TOO_LARGE));
    let mut line = first.or_else(|| telling.next_back())?;
    // `[h264 @ 0x55ccba61a080] ` names a place in ffmpeg's memory.
    while let Some((place, rest)) = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] "))
        && place.contains(" @ 0x")
    {
        line = rest;
    }
    let printable = |c: char| if c.is_control() { '?' } else { c };
    Some(line.chars().map(printable).take(300).collect())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn call<'a>(
        program: &str,
        arguments: &[&str],
        seconds: f64,
        cancelled: &'a dyn Fn() -> bool,
    ) -> Call<'a> {
        Call {
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            time: Duration::from_secs_f64(seconds),
            instead: "give another",
            cancelled,
        }
    }

    /// The output of a shell script, and the result of the run.
    fn shell(script: &str, cancelled: &dyn Fn() -> bool) -> (String, Result<(), String>) {
        let call = call("sh", &["-c", script], 1.0, cancelled);
        let mut text = String::new();
        let read = |output: &mut dyn BufRead| {
            let mut line = String::new();
            Ok((output.read_line(&mut line)? > 0).then_some(line))
        };
        let mut keep = |line: String| {
            text.push_str(&line);
            text.len() < 10
        };
        let outcome = run(&call, read, &mut keep).map_err(|failure| match failure {
            Failure::Cancelled => "cancelled".into(),
            Failure::Reason(reason) => reason,
        });
        (text, outcome)
    }

    #[test]
    fn what_a_program_writes_is_read_to_its_end() {
        let never = || false;
        assert_eq!(shell("echo a; echo b", &never), ("a\nb\n".into(), Ok(())));
    }

    #[test]
    fn a_failure_ends_with_the_programs_own_reason() {
        let quote = |words: &str| {
            let script = format!("echo a; printf '%b' '{words}' >&2; exit 3");
            let (text, outcome) = shell(&script, &|| false);
            assert_eq!(text, "a\n");
            outcome.unwrap_err()
        };
        assert_eq!(quote("why\\nno moov\\n"), "sh failed: no moov");
        let repeated = "[mov @ 0x55] no moov\\n    Last message repeated 1 times\\n";
        assert_eq!(quote(repeated), "sh failed: no moov");
        let large =
            "[a @ 0x1] [B @ 0x2] Picture size 9x9 exceeds specified max pixel count 1\\nx\\n";
        let message = quote(large);
        assert!(
            message.starts_with("sh failed: Picture size 9x9"),
            "{message}"
        );
        assert_eq!(quote("\\033[1mred\\n"), "sh failed: ?[1mred");
        assert_eq!(shell("exit 3", &|| false).1.unwrap_err(), "sh failed");
    }

    #[test]
    fn a_hanging_or_babbling_program_is_stopped_and_quoted() {
        for script in [
            "echo busy >&2; sleep 60",
            "echo busy >&2; exec >&-; sleep 60",
            "echo busy >&2; while true; do sleep 0.1; printf ''; done",
        ] {
            let start = Instant::now();
            let message = shell(script, &|| false).1.unwrap_err();
            assert!(
                message.contains("took more than 1s and was stopped: busy"),
                "{message}"
            );
            assert!(start.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn an_endless_program_is_stopped_when_there_is_enough() {
        let (text, outcome) = shell("while true; do echo aaaa; done", &|| false);
        assert_eq!((text.as_str(), outcome), ("aaaa\naaaa\n", Ok(())));
    }

    #[test]
    fn a_program_that_is_no_longer_wanted_is_stopped_at_once() {
        for script in ["sleep 60", "exec >&-; sleep 60"] {
            let start = Instant::now();
            let cancelled = move || start.elapsed() > Duration::from_millis(200);
            assert_eq!(shell(script, &cancelled).1.unwrap_err(), "cancelled");
            assert!(start.elapsed() < Duration::from_millis(900));
        }
    }

    #[test]
    fn a_missing_program_says_what_to_do() {
        let never = || false;
        let call = call("no-such-ffmpeg", &[], 1.0, &never);
        let read = |_: &mut dyn BufRead| Ok(None::<()>);
        let Err(Failure::Reason(message)) = run(&call, read, &mut |()| true) else {
            panic!("it is missing");
        };
        assert!(
            message.contains("no-such-ffmpeg; install ffmpeg")
                && message.ends_with("or give another"),
            "{message}"
        );
    }
}
