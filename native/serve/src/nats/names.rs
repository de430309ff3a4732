//! Names of subjects, streams, consumers and buckets.

use crate::job::JobId;

/// The stream of jobs.
pub(super) const JOBS: &str = "X2I_JOBS";
/// The stream of jobs that nobody could do.
pub(super) const DEAD: &str = "X2I_DEAD";
/// The stream of the server's advisories about them.
pub(super) const ADVISORIES: &str = "X2I_ADVISORIES";
/// The consumer of those that all gateways share.
pub(super) const BURIER: &str = "x2i-gateways";
/// The bucket of states.
pub(super) const STATE: &str = "X2I_STATE";
/// The bucket of keys of requests.
pub(super) const KEYS: &str = "X2I_KEYS";
/// The bucket of workers.
pub(super) const WORKERS: &str = "X2I_WORKERS";
/// The object store of inputs.
pub(super) const INPUTS: &str = "X2I_INPUTS";
/// The object store of outputs.
pub(super) const RESULTS: &str = "X2I_RESULTS";

/// All subjects of jobs.
pub(super) const ALL_JOBS: &str = "x2i.jobs.>";
/// All subjects of jobs that nobody could do.
pub(super) const ALL_DEAD: &str = "x2i.dead.>";
/// What the server tells when a job was given to as many workers as may have it.
pub(super) const ALL_ADVISORIES: &str = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.X2I_JOBS.>";

/// A name as one token of a subject, also fit for names of consumers and keys: other bytes than ASCII letters, digits, `-`
/// and `_` become `=` and two hex digits.
pub(super) fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => token.push(char::from(byte)),
            _ => token.push_str(&format!("={byte:02x}")),
        }
    }
    token
}

/// The subject of a job.
pub(super) fn job(model: &str, id: JobId) -> String {
    format!("x2i.jobs.{}.{id}", token(model))
}

/// The subjects of a model's jobs.
pub(super) fn jobs_of(model: &str) -> String {
    format!("x2i.jobs.{}.>", token(model))
}

/// The consumer of a model's jobs.
pub(super) fn consumer(model: &str) -> String {
    format!("x2i-{}", token(model))
}

/// Where a job tells of itself.
pub(super) fn progress(id: JobId) -> String {
    format!("x2i.progress.{id}")
}

/// Where a job shows itself.
pub(super) fn preview(id: JobId) -> String {
    format!("x2i.preview.{id}")
}

/// Where a job is asked to end.
pub(super) fn cancel(id: JobId) -> String {
    format!("x2i.cancel.{id}")
}

/// Where one idle worker of several models hears of a new job of a model.
pub(super) fn wake(model: &str) -> String {
    format!("x2i.wake.{}", token(model))
}

/// The job of a subject of [`job`].
pub(super) fn job_of(subject: &str) -> Option<JobId> {
    subject.rsplit('.').next()?.parse().ok()
}

/// The model of a subject of [`job`].
pub(super) fn model_of(subject: &str) -> Option<String> {
    let mut rest = subject.split('.').nth(2)?.as_bytes();
    let mut name = vec![];
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'=').then(|| std::str::from_utf8(after.get(..2)?).ok());
        match escaped {
            None => (name.push(byte), rest = after),
            Some(digits) => (
                name.push(u8::from_str_radix(digits?, 16).ok()?),
                rest = &after[2..],
            ),
        };
    }
    String::from_utf8(name).ok()
}

/// The object of an output: equal bytes of a job have one name, so that a late worker replaces nothing.
pub(super) fn output(id: JobId, sha256: &str) -> String {
    format!("{id}/{sha256}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_model_is_one_token_and_no_two_are_the_same() {
        let names = ["a.b", "a/b", "a b", "a=2eb", "a>", "*", "a=b", "Ü", "emoji"];
        let tokens: Vec<_> = names.iter().map(|name| token(name)).collect();
        assert_eq!(tokens[0], "a=2eb");
        assert_eq!(tokens[3], "a=3d2eb");
        assert_eq!(tokens[8], "emoji");
        for (at, one) in tokens.iter().enumerate() {
            assert!(!one.contains(['.', '/', ' ', '*', '>', '\\']), "{one}");
            assert!(tokens[..at].iter().all(|other| other != one), "{one}");
        }
    }

    #[test]
    fn a_subject_names_its_job_and_model() {
        let id = JobId::new();
        assert_eq!(job_of(&job("a.b/c", id)), Some(id));
        assert_eq!(model_of(&job("a.b/c =Ü", id)).as_deref(), Some("a.b/c =Ü"));
        assert_eq!(model_of("x2i.jobs.a=2"), None);
        assert_eq!(job_of("x2i.jobs.a.b"), None);
    }
}
