//! Short ways to write schemas (JSON Schema 2020-12).

use utoipa::openapi::schema::{AnyOfBuilder, Array, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};

pub(super) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn number() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Number)
}

pub(super) fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

/// One of several types.
pub(super) fn either(types: impl IntoIterator<Item = Type>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(types.into_iter().collect::<SchemaType>())
}

/// A number, and what it says.
pub(super) fn measured(description: &str) -> ObjectBuilder {
    number().description(Some(description))
}

/// A moment in Unix seconds.
pub(super) fn moment(description: &str) -> ObjectBuilder {
    integer().description(Some(format!("{description}, in Unix seconds (UTC)")))
}

/// An object with members that are always there and members that may be; others may be there, too.
pub(super) fn object<const ALWAYS: usize, const SOMETIMES: usize>(
    always: [(&str, RefOr<Schema>); ALWAYS],
    sometimes: [(&str, RefOr<Schema>); SOMETIMES],
) -> ObjectBuilder {
    let mut object = ObjectBuilder::new().schema_type(Type::Object);
    for (name, schema) in always {
        object = object.property(name, schema).required(name);
    }
    sometimes.into_iter().fold(object, |object, (name, schema)| object.property(name, schema))
}

pub(super) fn list(of: impl Into<RefOr<Schema>>) -> ArrayBuilder {
    Array::builder().items(of.into())
}

pub(super) fn any_of<const N: usize>(schemas: [RefOr<Schema>; N]) -> AnyOfBuilder {
    schemas.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item)
}

/// One of the document's named schemas.
pub(super) fn named(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}
