//! Who may ask: keys, host names, and pages of other origins.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};

/// Who may ask.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Keys, any of which opens the server; without one it is open.
    pub keys: Vec<String>,
    /// Names that the `Host` header may have, without ports; all where it is empty.
    pub hosts: Vec<String>,
    /// Origins of pages that may ask from a browser.
    pub origins: Vec<HeaderValue>,
}

impl Access {
    /// The layer that answers browsers' questions about other origins; none without origins.
    pub fn cors(&self) -> Option<CorsLayer> {
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.origins.clone()))
            .allow_methods(AllowMethods::list([
                Method::GET,
                Method::POST,
                Method::DELETE,
            ]))
            // The JS SDK of OpenAI sends headers of its own.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(ExposeHeaders::list([
                header::RETRY_AFTER,
                header::HeaderName::from_static("x-request-id"),
            ]))
            .max_age(std::time::Duration::from_secs(3600));
        (!self.origins.is_empty()).then_some(layer)
    }

    pub(super) fn allows_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let own = |host: &HeaderValue| {
            let name = host.to_str().map(|host| name_of(host).to_ascii_lowercase());
            name.is_ok_and(|name| self.hosts.contains(&name))
        };
        // Programs may send none; browsers always send one.
        self.hosts.is_empty() || (hosts.next().is_none_or(own) && hosts.next().is_none())
    }

    pub(super) fn allows_key(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let given = given.and_then(key_of);
        // All keys are compared, each in constant time.
        let equal = self.keys.iter().map(|key| {
            given.as_ref().map_or(0, |given| {
                key.as_bytes().ct_eq(given.as_bytes()).unwrap_u8()
            })
        });
        self.keys.is_empty() || equal.fold(0, |any, equal| any | equal) == 1
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// The key of `Bearer KEY`, or of `Basic` with any user and the key as password (or `KEY` alone).
fn key_of(authorization: &str) -> Option<String> {
    let (scheme, rest) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let key = pair
        .split_once(':')
        .map(|(_, password)| password.to_owned());
    Some(key.unwrap_or(pair))
}

/// True for a request that changes something and that a browser sends for a page of an origin that is neither ours
/// nor allowed: forms and `no-cors` requests need no consent (CSRF).
pub(super) fn is_foreign_page(access: &Access, method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        // No browser, or one that says where its page is from in another way.
        return headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site");
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let own = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    let is_own = own.is_some_and(|(_, own)| Some(own) == host);
    !is_own && !access.origins.contains(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        pairs.collect()
    }

    #[test]
    fn keys_come_as_bearer_or_as_password() {
        let access = Access {
            keys: vec!["old".into(), "secret".into()],
            ..Access::default()
        };
        let allows = |value: &str| access.allows_key(&headers(&[(header::AUTHORIZATION, value)]));
        assert!(allows("Bearer secret") && allows("bearer old"));
        assert!(allows(&format!("Basic {}", STANDARD.encode("any:secret"))));
        assert!(
            !allows("Bearer secre")
                && !allows("Bearer secrets")
                && !allows("secret")
                && !allows("Basic ?")
        );
        assert!(!access.allows_key(&HeaderMap::new()));
        assert!(Access::default().allows_key(&HeaderMap::new()));
    }

    #[test]
    fn names_of_strangers_and_pages_of_other_origins_are_refused() {
        let access = Access {
            hosts: vec!["localhost".into(), "::1".into()],
            ..Access::default()
        };
        let host = |host: &str| access.allows_host(&headers(&[(header::HOST, host)]));
        assert!(host("localhost:7860") && host("[::1]:7860") && !host("evil.example"));
        let page = |origin: &str| {
            let headers = headers(&[(header::ORIGIN, origin), (header::HOST, "localhost:7860")]);
            is_foreign_page(&access, &Method::POST, &headers)
        };
        assert!(!page("http://localhost:7860") && page("http://localhost:80") && page("null"));
        assert!(!is_foreign_page(&access, &Method::POST, &HeaderMap::new()));
    }
}
