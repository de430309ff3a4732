//! The bodies of requests for images as the description has them: with X2I's own fields.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::body::ImagesBody;
use crate::http::described::{Named, schemas, with_extras};

/// The body of `/v1/images/generations`.
pub struct ImagesRequest;

/// The body of `/v1/images/edits`.
pub struct EditRequest;

impl PartialSchema for ImagesRequest {
    fn schema() -> RefOr<Schema> {
        with_extras::<ImagesBody>(&[])
    }
}

impl ToSchema for ImagesRequest {
    fn name() -> Cow<'static, str> {
        "ImagesRequest".into()
    }

    fn schemas(all: &mut Named) {
        schemas::<ImagesBody>(all);
    }
}

impl PartialSchema for EditRequest {
    fn schema() -> RefOr<Schema> {
        with_extras::<ImagesBody>(&["image"])
    }
}

impl ToSchema for EditRequest {
    fn name() -> Cow<'static, str> {
        "EditRequest".into()
    }

    fn schemas(all: &mut Named) {
        schemas::<ImagesBody>(all);
    }
}
