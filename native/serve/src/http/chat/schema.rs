//! The body of a request for a completion as the description has it: with X2I's own fields, and those that are ignored.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::body::{ChatBody, IGNORED};
use crate::http::described::{Named, anything, schemas, with_extras};

/// The body of `/v1/chat/completions`.
pub struct ChatRequest;

impl PartialSchema for ChatRequest {
    fn schema() -> RefOr<Schema> {
        let mut schema = with_extras::<ChatBody>(&[]);
        if let RefOr::T(Schema::Object(body)) = &mut schema {
            let ignored = IGNORED.map(|name| (name.to_owned(), RefOr::T(anything())));
            body.properties.extend(ignored);
        }
        schema
    }
}

impl ToSchema for ChatRequest {
    fn name() -> Cow<'static, str> {
        "ChatRequest".into()
    }

    fn schemas(all: &mut Named) {
        schemas::<ChatBody>(all);
    }
}
