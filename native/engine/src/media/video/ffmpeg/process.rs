//! Runs a program and reads its output until it ends, fails or hangs.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest time without output: a program decodes many frames between two wanted ones.
const SILENCE: Duration = Duration::from_secs(120);
/// The last bytes of its error output that are kept.
const LAST_WORDS: usize = 4096;

/// A program with its arguments.
pub struct Call {
    program: PathBuf,
    arguments: Vec<String>,
    silence: Duration,
}

impl Call {
    /// A call of a program, which is found in `PATH`.
    pub fn new(program: &str, arguments: Vec<String>) -> Self {
        Self {
            program: program.into(),
            arguments,
            silence: SILENCE,
        }
    }

    fn spawn(&self) -> Result<Child, String> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "can't be read without the program {}; install ffmpeg (Debian: apt install ffmpeg), or \
                give an animated GIF or a folder of frames",
                self.name()
            ),
            _ => format!("{} can't be started: {error}", self.name()),
        })
    }

    fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Ends the program when it is dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program, reads items of its output with `read` and hands them to `keep`, which returns
/// `false` to stop.
///
/// # Errors
/// A message when the program is missing, fails (with the last line of its error output), or prints
/// nothing for too long.
pub fn run<T: Send + 'static>(
    call: &Call,
    read: impl FnMut(&mut dyn BufRead) -> io::Result<Option<T>> + Send + 'static,
    keep: &mut impl FnMut(T) -> bool,
) -> Result<(), String> {
    let mut guard = Guard(call.spawn()?);
    let (Some(output), Some(errors)) = (guard.0.stdout.take(), guard.0.stderr.take()) else {
        return Err(format!("{} has no output", call.name()));
    };
    let output = listen(BufReader::new(output), read);
    let words = LastWords::listen(errors);
    let failed = |what: String| match words.line() {
        Some(line) => format!("{} {what}: {line}", call.name()),
        None => format!("{} {what}", call.name()),
    };
    loop {
        match output.recv_timeout(call.silence) {
            Ok(Ok(item)) => {
                if !keep(item) {
                    return Ok(());
                }
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("printed nothing for {:?} and was stopped", call.silence);
                return Err(failed(what));
            }
        }
    }
    match wait(&mut guard.0, call.silence) {
        Some(true) => Ok(()),
        Some(false) => Err(failed("failed".into())),
        None => Err(failed("did not end and was stopped".into())),
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

    /// The last line that is not empty. Waits for the rest of the output when the program has ended.
    fn line(&self) -> Option<String> {
        let _ = self.ended.recv_timeout(Duration::from_millis(500));
        let words = self.words.lock().ok()?;
        let text = String::from_utf8_lossy(&words).into_owned();
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(line.trim().to_owned())
    }
}

/// Whether the program succeeded; `None` when it has not ended within `limit`.
fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if start.elapsed() > limit => return None,
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(_) => return Some(false),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// The output of a shell script, and the result of the run.
    fn shell(script: &str) -> (String, Result<(), String>) {
        let call = Call {
            silence: Duration::from_millis(300),
            ..Call::new("sh", vec!["-c".into(), script.into()])
        };
        let mut text = String::new();
        let read = |output: &mut dyn BufRead| {
            let mut line = String::new();
            Ok((output.read_line(&mut line)? > 0).then_some(line))
        };
        let mut keep = |line: String| {
            text.push_str(&line);
            text.len() < 10
        };
        let outcome = run(&call, read, &mut keep);
        (text, outcome)
    }

    #[test]
    fn what_a_program_writes_is_read_to_its_end() {
        assert_eq!(shell("echo a; echo b"), ("a\nb\n".into(), Ok(())));
    }

    #[test]
    fn a_failure_ends_with_the_programs_own_last_line() {
        let (text, outcome) = shell("echo a; echo why >&2; echo moov atom not found >&2; exit 3");
        assert_eq!(text, "a\n");
        assert_eq!(outcome.unwrap_err(), "sh failed: moov atom not found");
        assert_eq!(shell("exit 3").1.unwrap_err(), "sh failed");
    }

    #[test]
    fn a_hanging_program_is_stopped_and_quoted() {
        for script in [
            "echo busy >&2; sleep 60",
            "echo busy >&2; exec >&-; sleep 60",
        ] {
            let start = Instant::now();
            let message = shell(script).1.unwrap_err();
            assert!(message.contains("was stopped: busy"), "{message}");
            assert!(start.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn an_endless_program_is_stopped_when_there_is_enough() {
        let (text, outcome) = shell("while true; do echo aaaa; done");
        assert_eq!((text.as_str(), outcome), ("aaaa\naaaa\n", Ok(())));
    }

    #[test]
    fn a_missing_program_says_what_to_do() {
        let call = Call::new("no-such-ffmpeg", vec![]);
        let read = |_: &mut dyn BufRead| Ok(None::<()>);
        let message = run(&call, read, &mut |()| true).unwrap_err();
        assert!(
            message.contains("no-such-ffmpeg") && message.contains("install ffmpeg"),
            "{message}"
        );
    }
}
