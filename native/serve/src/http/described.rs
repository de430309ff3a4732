//! Schemas for the description: of bodies that are read in two parts, and with the limits of this server.

use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, SchemaType};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::access::Access;
use super::app::Limits;
use super::extras::Extras;
use super::guard::OPEN;

/// Schemas with their names.
pub(super) type Named = Vec<(String, RefOr<Schema>)>;

/// A body's fields with X2I's own, flat and nested.
pub(super) fn with_extras<B: PartialSchema>(required: &[&str]) -> RefOr<Schema> {
    let (RefOr::T(Schema::Object(mut body)), RefOr::T(Schema::Object(extras))) =
        (B::schema(), Extras::schema())
    else {
        return B::schema(); // both are structs
    };
    body.properties.extend(extras.properties);
    let nested = RefOr::Ref(Ref::from_schema_name(Extras::name()));
    body.properties.insert("x2i".to_owned(), nested);
    body.required
        .extend(required.iter().map(|name| (*name).to_owned()));
    RefOr::T(Schema::Object(body))
}

/// A field that may be anything, since it is ignored.
pub(super) fn anything() -> Schema {
    let object = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    object.description(Some("Ignored.")).build().into()
}

/// The schemas that such a body refers to.
pub(super) fn schemas<B: ToSchema>(schemas: &mut Named) {
    B::schemas(schemas);
    Extras::schemas(schemas);
    schemas.push((Extras::name().into(), Extras::schema()));
}

/// Names what opens the server, where it has keys.
pub(super) fn secure(description: &mut OpenApi, access: &Access) {
    if access.keys.is_empty() {
        return;
    }
    let components = description.components.get_or_insert_default();
    for (name, scheme) in [
        ("bearer", HttpAuthScheme::Bearer),
        ("basic", HttpAuthScheme::Basic),
    ] {
        let scheme = SecurityScheme::Http(Http::new(scheme)).into();
        components.security_schemes.insert(name.to_owned(), scheme);
    }
    let either = ["bearer", "basic"].map(|name| SecurityRequirement::new(name, [] as [&str; 0]));
    for (path, item) in &mut description.paths.paths {
        let operations = [&mut item.get, &mut item.post];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            operation.security = (!OPEN.contains(&path.as_str())).then(|| either.to_vec());
        }
    }
}

/// Sets what this server allows at most.
pub(super) fn limit(description: &mut OpenApi, limits: &Limits) {
    let Some(components) = &mut description.components else {
        return;
    };
    for schema in components.schemas.values_mut() {
        if let RefOr::T(Schema::Object(object)) = schema {
            limit_object(object, limits);
        }
    }
}

fn limit_object(object: &mut Object, limits: &Limits) {
    for (name, most) in [("n", limits.images), ("steps", limits.steps)] {
        let property = object.properties.get_mut(name);
        if let Some(RefOr::T(Schema::Object(property))) = property
            && property.maximum.is_some()
        {
            property.maximum = Some(most.into());
        }
    }
}
