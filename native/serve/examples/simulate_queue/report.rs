//! The report, in Markdown.

use std::fmt;
use std::time::Duration;

use x2i_serve::job::{JobState, Status};

use crate::plan::Plan;

/// All that was measured.
pub struct Report {
    pub plan: Plan,
    /// How long handing all jobs in took, and each of them.
    pub submitting: Duration,
    pub latencies: Vec<Duration>,
    /// From the first worker to the last job.
    pub working: Duration,
    pub states: Vec<JobState>,
    pub pauses: Vec<Duration>,
    pub singles: Vec<Single>,
    /// Jobs that were given to another worker.
    pub redeliveries: u64,
}

/// A job that found idle workers, from the begin of its submission.
pub struct Single {
    /// The gateway had taken it.
    pub submitted: Duration,
    /// A watcher heard that it runs.
    pub running: Duration,
    /// A watcher heard of its end.
    pub over: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            workers,
            jobs,
            mean,
            deaths,
            ..
        } = &self.plan;
        let of = |status: Status| {
            self.states
                .iter()
                .filter(|state| state.status == status)
                .count()
        };
        let twice = self
            .states
            .iter()
            .filter(|state| state.outputs.len() > 1)
            .count();
        let lost = jobs - self.states.len();
        let rate = *jobs as f64 / self.working.as_secs_f64();
        let busy = mean.as_secs_f64() * *jobs as f64 / *workers as f64;
        let share = busy / self.working.as_secs_f64() * 100.0;
        writeln!(
            f,
            "{workers} workers, {jobs} jobs of {} s in the mean, {deaths} workers die in mid-job.\n",
            mean.as_secs_f64()
        )?;
        writeln!(f, "| what | measured |\n|---|---|")?;
        writeln!(
            f,
            "| jobs that succeeded, failed, were lost | {}, {}, {lost} |",
            of(Status::Succeeded),
            of(Status::Failed)
        )?;
        writeln!(f, "| jobs with two results | {twice} |")?;
        writeln!(f, "| redeliveries | {} |", self.redeliveries)?;
        writeln!(
            f,
            "| jobs handed in a second (4 gateways, 32 at once) | {:.0} |",
            *jobs as f64 / self.submitting.as_secs_f64()
        )?;
        writeln!(
            f,
            "| handing a job in, p50, p99 | {} |",
            both(&self.latencies)
        )?;
        writeln!(f, "| throughput, jobs a second | {rate:.1} |")?;
        writeln!(
            f,
            "| share of the workers' time that is work | {share:.1} % |"
        )?;
        writeln!(
            f,
            "| from a job's last step to the worker's next job, its file of 10 kB stored, p50, p99 | {} |",
            both(&self.pauses)
        )?;
        let of = |of: fn(&Single) -> Duration| self.singles.iter().map(of).collect::<Vec<_>>();
        writeln!(
            f,
            "| idle workers: from the request to taken in, p50, p99 | {} |",
            both(&of(|single| single.submitted))
        )?;
        writeln!(
            f,
            "| ... to the watcher's \"running\", p50, p99 | {} |",
            both(&of(|single| single.running))
        )?;
        write!(
            f,
            "| ... to the watcher's end of a job that takes no time, p50, p99 | {} |",
            both(&of(|single| single.over))
        )
    }
}

fn both(durations: &[Duration]) -> String {
    format!("{}, {}", share(durations, 0.5), share(durations, 0.99))
}

fn share(durations: &[Duration], share: f64) -> String {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or("-".into(), |duration| {
        format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
    })
}
