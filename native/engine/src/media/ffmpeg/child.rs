//! A program in a process group of its own, which ends with us.
//!
//! Its group gets no Ctrl-C from the terminal, so that we alone decide. When we are killed, the kernel
//! kills the program on Linux, and a shell that waits for our end kills the whole group: a program may
//! be a script that has started others.

use std::io;
use std::process::{Child, Command, Stdio};

/// What the watching shell runs: a line says that the group has ended, the end of the input that we have.
#[cfg(unix)]
const WATCH: &str = "read line || kill -s KILL -- -$1";

/// A running program, which is killed with its group when this is dropped.
pub struct Guarded {
    /// The program.
    pub child: Child,
    /// Kills the group when we are killed; `None` where there is no shell.
    watcher: Option<Child>,
    /// Its end was waited for, so that its number may be another program's now.
    ended: bool,
}

impl Guarded {
    /// Starts a program in a group of its own.
    ///
    /// # Errors
    /// The system's.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        apart(command);
        let child = command.spawn()?;
        Ok(Self {
            watcher: watch(&child),
            child,
            ended: false,
        })
    }

    /// Whether the program succeeded; `None` while it runs.
    pub fn outcome(&mut self) -> Option<bool> {
        let status = self.child.try_wait().transpose()?;
        self.ended = true;
        Some(status.is_ok_and(|status| status.success()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.ended {
            kill_group(&self.child);
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(mut watcher) = self.watcher.take() {
            if let Some(mut input) = watcher.stdin.take() {
                // It may have been killed by others.
                let _ = io::Write::write_all(&mut input, b"\n");
            }
            let _ = watcher.wait();
        }
    }
}

/// Starts the shell that waits for our end, in a group of its own.
#[cfg(unix)]
fn watch(child: &Child) -> Option<Child> {
    use std::os::unix::process::CommandExt;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", WATCH, "sh", &child.id().to_string()]);
    shell.stdin(Stdio::piped()).stdout(Stdio::null());
    shell.stderr(Stdio::null()).process_group(0).spawn().ok()
}

#[cfg(not(unix))]
fn watch(_child: &Child) -> Option<Child> {
    None
}

#[cfg(unix)]
fn apart(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let us = std::process::id();
        // SAFETY: between fork and exec the closure makes two system calls, which are safe there; it
        // neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || end_with(us));
        }
    }
}

#[cfg(not(unix))]
fn apart(_command: &mut Command) {}

/// Asks the kernel to kill this process when the thread that started it ends. Fails when it has ended.
#[cfg(target_os = "linux")]
fn end_with(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls with numbers as arguments.
    let (asked, now) = unsafe {
        (
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL),
            libc::getppid(),
        )
    };
    match asked == 0 && i64::from(now) == i64::from(parent) {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

#[cfg(unix)]
fn kill_group(child: &Child) {
    if let Ok(group) = libc::pid_t::try_from(child.id()) {
        // SAFETY: a plain system call. The child was not waited for, so that the number is still its own.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

#[cfg(not(unix))]
fn kill_group(_child: &Child) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    /// A shell in a group of its own that starts a `sleep` and prints its number.
    fn nested() -> (Guarded, u32) {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let mut guarded = Guarded::spawn(command.stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        let output = guarded.child.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut line).unwrap();
        (guarded, line.trim().parse().unwrap())
    }

    fn field(process: u32, index: usize) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let fields = stat.rsplit_once(')')?.1;
        Some(fields.split_whitespace().nth(index)?.to_owned())
    }

    #[test]
    fn a_program_and_what_it_started_are_one_group_that_ends_when_dropped() {
        let (guarded, inner) = nested();
        let group = field(inner, 2).unwrap();
        assert_eq!(group, guarded.child.id().to_string());
        assert_ne!(Some(group), field(std::process::id(), 2));
        drop(guarded);
        let start = Instant::now();
        // Nobody may wait for an orphan in a container: a zombie is dead too.
        while field(inner, 0).is_some_and(|state| state != "Z") {
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_program_dies_with_the_thread_that_started_it() {
        let (mut guarded, _) = std::thread::spawn(nested).join().unwrap();
        let start = Instant::now();
        while guarded.outcome().is_none() {
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
