//! Whether a job outlives its caller.

use http::HeaderMap;

/// The header that keeps a job whose caller goes away; its images are at `/v1/x2i/jobs` then.
pub const KEEP: &str = "x-x2i-keep";

/// True where a request asks for that.
pub fn keep(headers: &HeaderMap) -> bool {
    let value = headers.get(KEEP).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| matches!(value.trim(), "1" | "true" | "yes"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_job_is_kept_where_its_caller_says_so() {
        let asked = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            keep(&HeaderMap::from_iter([(
                http::HeaderName::from_static(KEEP),
                value,
            )]))
        };
        assert!(asked("true") && asked("1"));
        assert!(!asked("false") && !keep(&HeaderMap::new()));
    }
}
