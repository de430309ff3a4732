//! The body of `img2img` as the description has it: with an initial image.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::body::Settings;
use crate::http::described::Named;

/// The body of `/sdapi/v1/img2img`.
pub struct ImageSettings;

impl PartialSchema for ImageSettings {
    fn schema() -> RefOr<Schema> {
        let mut schema = Settings::schema();
        if let RefOr::T(Schema::Object(body)) = &mut schema {
            body.required.push("init_images".to_owned());
        }
        schema
    }
}

impl ToSchema for ImageSettings {
    fn name() -> Cow<'static, str> {
        "A1111ImageSettings".into()
    }

    fn schemas(all: &mut Named) {
        Settings::schemas(all);
    }
}
