//! Whether a job outlives its caller.

use http::HeaderMap;
use utoipa::IntoParams;

use super::error::ApiError;

/// The header that keeps a job whose caller goes away; its images are at `/v1/x2i/jobs` then.
pub const KEEP: &str = "x-x2i-keep";

/// True where a request asks for that.
///
/// # Errors
/// For a value that is neither `true` nor `false`.
pub fn keep(headers: &HeaderMap) -> Result<bool, ApiError> {
    let Some(value) = headers.get(KEEP) else {
        return Ok(false);
    };
    match value.as_bytes() {
        b"true" | b"1" => Ok(true),
        b"false" | b"0" | b"" => Ok(false),
        _ => {
            let name = "X-X2I-Keep";
            Err(ApiError::param(
                name,
                format!("{name}: must be true or false"),
            ))
        }
    }
}

/// The header, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only for the description")]
pub struct KeepHeader {
    /// `true` keeps a job whose caller goes away.
    #[param(rename = "X-X2I-Keep", required = false, nullable = false)]
    keep: bool,
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_job_is_kept_where_its_caller_says_so() {
        let asked = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            let name = http::HeaderName::from_static(KEEP);
            keep(&HeaderMap::from_iter([(name, value)]))
        };
        assert!(asked("true").unwrap() && asked("1").unwrap());
        assert!(!asked("false").unwrap() && !keep(&HeaderMap::new()).unwrap());
        assert!(asked("perhaps").is_err());
    }
}
