//! The OpenAPI 3.1 document, made of the table of routes and of the types that it names.
//!
//! Routes of the owner's own programs are left out: they are no interface to build on.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::dto::ErrorReply;
use super::route::{Answer, Content, Route, Scope, shape};
use super::routes::ROUTES;

/// The document.
#[must_use]
pub fn document() -> Value {
    // Bodies and queries are read, answers are written: what may be left out differs.
    let mut reading = generator(SchemaSettings::draft2020_12());
    let mut writing = generator(SchemaSettings::draft2020_12().for_serialize());
    let error = writing.subschema_for::<ErrorReply>().to_value();
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| route.scope != Scope::Owner) {
        let place = paths.entry(openapi_path(route.path)).or_insert_with(|| json!({}));
        let operation = operation(route, &mut reading, &mut writing);
        if let Some(place) = place.as_object_mut() {
            place.insert(route.verb.as_str().to_lowercase(), operation);
        }
    }
    let mut schemas = reading.take_definitions(true);
    schemas.extend(writing.take_definitions(true));
    schemas.sort_keys();
    let responses = json!({
        "Error": {"description": "What went wrong.", "content": {"application/json": {"schema": error}}},
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "prismq",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Modules and pipelines of a workspace: start them, watch them, end them.",
            "description": "Served by `prismq serve`, and by `prismq run` while it lasts. Times are RFC 3339 in UTC. What is not known is \
                left out, never null. Writes take the owner's token, looking also the one in `.prismq/token-read`.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The text of `.prismq/token` or `.prismq/token-read`."},
                "cookie": {
                    "type": "apiKey", "in": "cookie", "name": "prismq-8700",
                    "description": "What a browser gets for a link of `prismq token link`; its name ends with the port. Writes then also \
                        need the header `X-Prismq: 1`.",
                },
            },
        },
    })
}

fn generator(settings: SchemaSettings) -> SchemaGenerator {
    settings
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator()
}

fn openapi_path(path: &str) -> String {
    path.replace("{*", "{")
}

fn operation(route: &Route, reading: &mut SchemaGenerator, writing: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = steps(route.path).map(path_parameter).collect();
    if let Some(query) = route.query {
        parameters.extend(query_parameters(&query(reading).to_value()));
    }
    for (name, about, pattern) in route.headers {
        let schema = json!({"type": "string", "pattern": pattern});
        parameters.push(json!({"name": name, "in": "header", "required": false, "description": about, "schema": schema}));
    }
    let mut responses: Map<String, Value> =
        route.answers.iter().map(|answer| (answer.status.to_string(), response(answer, writing))).collect();
    for status in ["4XX", "5XX"] {
        responses.insert(status.to_owned(), json!({"$ref": "#/components/responses/Error"}));
    }
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.about,
        "tags": [route.path.trim_start_matches("/api/").split(['/', '.']).next().unwrap_or_default()],
        "responses": responses,
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": body(reading).to_value()}}});
    }
    if route.scope == Scope::Public {
        operation["security"] = json!([]);
    }
    operation
}

fn response(answer: &Answer, writing: &mut SchemaGenerator) -> Value {
    let mut response = json!({"description": answer.about});
    match answer.content {
        Content::Json(shape) => response["content"] = json!({"application/json": {"schema": shape(writing).to_value()}}),
        Content::Other(media) => response["content"] = json!({media: {"schema": schema_of(media)}}),
        Content::Nothing => {}
    }
    response
}

/// What there is to say of an answer that is no JSON. Of a stream of events it is what one of them is.
fn schema_of(media: &str) -> Value {
    if media != "text/event-stream" {
        return json!({"type": "string"});
    }
    json!({
        "type": "object",
        "description": "One event.",
        "properties": {
            "event": {"type": "string", "description": "Its name; none where lines of a log come."},
            "id": {"type": "string", "description": "Its place, for `Last-Event-ID`."},
            "data": {"type": "string", "description": "JSON."},
            "retry": {"type": ["integer", "string"], "description": "Milliseconds until a client that lost it should come back."},
        },
    })
}

/// Names of the changing parts of a path.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|step| step.strip_prefix('{')?.strip_suffix('}')).map(|name| name.trim_start_matches('*'))
}

fn path_parameter(name: &str) -> Value {
    let (about, schema) = match name {
        "run" => ("Id of a run.", json!({"type": "string", "pattern": "^[0-9]{8}-[0-9]{6}-[0-9a-hjkmnp-tv-z]{5}$"})),
        "module" => ("Id of a module.", json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"})),
        "node" => ("Path of a node, such as `score[3]` or `clips[2].cut`.", json!({"type": "string", "minLength": 1})),
        "attempt" => ("Number of an attempt, from 1.", json!({"type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32})),
        _ => ("As a list names it.", json!({"type": "string", "minLength": 1})),
    };
    json!({"name": name, "in": "path", "required": true, "description": about, "schema": schema})
}

/// Properties of an object as parameters of the query.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            let mut property = without_null(property.clone());
            let about = property.as_object_mut().and_then(|map| map.remove("description"));
            let required = required.contains(&name.as_str());
            json!({"name": name, "in": "query", "required": required, "description": about.unwrap_or_default(), "schema": property})
        })
        .collect()
}

/// A text of a query cannot be null: what may be left out is said otherwise there.
fn without_null(mut property: Value) -> Value {
    if let Some(kinds) = property.get_mut("type").filter(|kinds| kinds.is_array()) {
        let rest: Vec<Value> = kinds.as_array().into_iter().flatten().filter(|kind| *kind != "null").cloned().collect();
        *kinds = if let [one] = rest.as_slice() { one.clone() } else { rest.into() };
    }
    let other = property.get("anyOf").and_then(Value::as_array).and_then(|any| any.iter().find(|one| one["type"] != "null")).cloned();
    if let (Some(map), Some(Value::Object(other))) = (property.as_object_mut(), other) {
        map.remove("anyOf");
        map.extend(other);
    }
    property
}

/// The shape of this document's own answer: an object.
pub(super) fn any_object(_: &mut SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object"})
}

/// A shape together with the same fields once more under a name.
pub(super) fn nested_shape<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> schemars::Schema {
    let inner = shape::<T>(generator);
    schemars::json_schema!({"allOf": [inner]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_public_route_once() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let count: usize = paths.values().map(|place| place.as_object().expect("operations").len()).sum();
        assert_eq!(count, ROUTES.iter().filter(|route| route.scope != Scope::Owner).count());
        let mut ids: Vec<&str> = ROUTES.iter().map(|route| route.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ROUTES.len(), "operation ids are unique");
    }

    #[test]
    fn every_schema_of_the_document_is_one() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
            assert!(jsonschema::meta::is_valid(schema), "{name}");
        }
        // Every reference leads somewhere.
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap_or_default();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
