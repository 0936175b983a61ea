//! What a route is: its place, who may use it, what it takes and gives, and who answers.
//!
//! The table in [`routes`](super::routes) is made of these. The router, the OpenAPI document and the tests of security are all made from
//! the table, so that none of them can know a route that another one forgot.

use axum::http::Method;
use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::server::Shared;

/// Who may use a route. Each includes what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everybody who reaches the port.
    Public,
    /// Holders of any token, or of a browser's cookie.
    Read,
    /// Holders of the owner's token, or of a browser's cookie.
    Write,
    /// Holders of the owner's token; never a browser.
    Owner,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Looks.
    Get,
    /// Changes something.
    Post,
    /// Ends or removes something.
    Delete,
}

impl Verb {
    /// Its name in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// The route's verb that a request's method means.
    #[must_use]
    pub(super) fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET | Method::HEAD => Some(Self::Get),
            Method::POST => Some(Self::Post),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }
}

/// Makes the schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type by reference, or in place where it has no name.
pub(super) fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The schema of a type in place.
pub(super) fn inline<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// JSON of this shape.
    Json(Shape),
    /// Something else, of this media type.
    Other(&'static str),
    /// Nothing.
    Nothing,
}

/// A good answer.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) content: Content,
}

/// A route.
pub(super) struct Route {
    pub(super) verb: Verb,
    /// As axum writes it: `/api/runs/{run}`.
    pub(super) path: &'static str,
    pub(super) scope: Scope,
    /// Its name in the OpenAPI document.
    pub(super) id: &'static str,
    /// What it does, in a line.
    pub(super) about: &'static str,
    /// Parameters of the query: an object's properties.
    pub(super) query: Option<Shape>,
    /// The body, always JSON.
    pub(super) body: Option<Shape>,
    /// Headers that it reads, with what they mean and their pattern.
    pub(super) headers: &'static [(&'static str, &'static str, &'static str)],
    pub(super) answers: &'static [Answer],
    pub(super) handler: fn() -> MethodRouter<Shared>,
}

impl Route {
    /// A route without query, body and headers.
    pub(super) const fn new(
        verb: Verb,
        path: &'static str,
        scope: Scope,
        id: &'static str,
        about: &'static str,
        answers: &'static [Answer],
        handler: fn() -> MethodRouter<Shared>,
    ) -> Self {
        Self { verb, path, scope, id, about, query: None, body: None, headers: &[], answers, handler }
    }

    /// The same with parameters in the query.
    pub(super) const fn query(self, query: Shape) -> Self {
        Self { query: Some(query), ..self }
    }

    /// The same with a body.
    pub(super) const fn body(self, body: Shape) -> Self {
        Self { body: Some(body), ..self }
    }

    /// The same with headers.
    pub(super) const fn headers(self, headers: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

/// A route as others may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteInfo {
    /// What is done.
    pub verb: Verb,
    /// `/api/runs/{run}`
    pub path: &'static str,
    /// Who may use it.
    pub scope: Scope,
    /// It takes a body of JSON.
    pub body: bool,
}
