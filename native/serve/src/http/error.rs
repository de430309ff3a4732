//! Errors as OpenAI's clients read them: `{"error": {"message", "type", "code", "param"}}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::job::{Code, Failure};

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The status of the answer.
    pub status: StatusCode,
    /// Why.
    pub failure: Failure,
    /// The code, where it is another one than the failure's.
    pub code: Option<&'static str>,
}

impl ApiError {
    /// An error of a status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let failure = Failure::new(Code::InvalidRequest, message);
        Self {
            status,
            failure,
            code: Some(code),
        }
    }

    /// A parameter that is wrong.
    pub fn param(param: impl Into<String>, message: impl Into<String>) -> Self {
        Failure::param(param, message).into()
    }

    /// A parameter that the server does not know.
    pub fn unknown_param(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: Some("unknown_parameter"),
            ..Self::param(param, message)
        }
    }

    /// Something that is not there.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no {what}"),
        )
    }

    /// The JSON.
    pub fn body(&self) -> serde_json::Value {
        json!({ "error": {
            "message": self.failure.message,
            "type": kind(self.status),
            "code": self.code.unwrap_or_else(|| code(self.failure.code)),
            "param": self.failure.param,
        }})
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self {
            status: status(failure.code),
            failure,
            code: None,
        }
    }
}

impl From<x2i_core::Error> for ApiError {
    fn from(error: x2i_core::Error) -> Self {
        Failure::from(error).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let seconds = self
            .failure
            .retry_after
            .map(|seconds| seconds.ceil().max(1.0) as u64);
        if let Some(value) =
            seconds.and_then(|seconds| HeaderValue::from_str(&seconds.to_string()).ok())
        {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // A line each: browsers ask for a password only where Basic has a line of its own.
            for scheme in ["Bearer", "Basic realm=\"x2i\""] {
                let scheme = HeaderValue::from_static(scheme);
                response
                    .headers_mut()
                    .append(header::WWW_AUTHENTICATE, scheme);
            }
        }
        response
    }
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest => StatusCode::BAD_REQUEST,
        Code::ModelNotFound => StatusCode::NOT_FOUND,
        Code::QueueFull => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // Nginx's for a client that went; nobody reads it but logs.
        Code::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Expired => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn code(code: Code) -> &'static str {
    match code {
        Code::InvalidRequest => "invalid_value",
        Code::ModelNotFound => "model_not_found",
        Code::QueueFull => "queue_full",
        Code::Unavailable => "unavailable",
        Code::Canceled => "canceled",
        Code::Expired => "expired",
        Code::Internal => "internal_error",
    }
}

/// OpenAI's kind of error.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_when_to_ask_again() {
        let failure = Failure {
            retry_after: Some(1.2),
            ..Failure::new(Code::QueueFull, "full")
        };
        let response = ApiError::from(failure).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn errors_have_openais_form() {
        let body = ApiError::unknown_param("colour", "there is no parameter colour").body();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], "unknown_parameter");
        assert_eq!(body["error"]["param"], "colour");
    }
}
