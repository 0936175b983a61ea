//! What a request says, checked by the same schemas that the OpenAPI document shows.
//!
//! A body is read whole, with a limit of size and time; what JSON readers mend silently is refused with its place. The query is turned
//! into an object by the types of its schema and checked like a body.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jsonschema::Validator;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::dto::Mistake;
use super::error::ApiError;
use super::gate::Admission;
use super::server::Shared;
use crate::ids::{ModuleId, RunId};
use crate::json;

/// Largest body of a request: parameters come by this way, files by path.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to come.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// Mistakes told of one body.
const MISTAKES_MAX: usize = 20;

/// A body that was checked by its schema.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned + JsonSchema + 'static> FromRequest<Shared> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, ApiError> {
        let value = read(request).await?;
        checked(value).map(Self)
    }
}

/// A body of the owner's own programs, whose types nobody documents.
pub(super) struct OwnBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for OwnBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, ApiError> {
        let value = read(request).await?;
        serde_json::from_value(value).map(Self).map_err(|error| ApiError::invalid("", error.to_string()))
    }
}

/// The query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + JsonSchema + 'static> FromRequestParts<Shared> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let schema = known::<T>().0.clone();
        let mut values = Map::new();
        for (name, text) in pairs(parts.uri.query().unwrap_or_default())? {
            let kind = schema.pointer(&format!("/properties/{}/type", name.replace('~', "~0").replace('/', "~1")));
            if name.contains('\0') || text.contains('\0') {
                return Err(ApiError::invalid("", "the query holds a NUL character"));
            }
            let value = typed(&text, kind);
            if values.insert(name.clone(), value).is_some() {
                return Err(ApiError::invalid(format!("/{name}"), "this parameter stands twice in the query"));
            }
        }
        checked(Value::Object(values)).map(Self)
    }
}

/// A run, by the path.
pub(super) struct Run(pub(super) RunId);

impl FromRequestParts<Shared> for Run {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        RunId::parse(&step(parts, shared, "run").await?).map(Self).map_err(|error| ApiError::not_found(error.to_string()))
    }
}

/// A module, by the path. Whether there is one of that name is another question.
pub(super) struct Module(pub(super) ModuleId);

impl FromRequestParts<Shared> for Module {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        ModuleId::parse(&step(parts, shared, "module").await?).map(Self).map_err(|error| ApiError::not_found(error.to_string()))
    }
}

/// A part of the path, decoded; it is only ever looked up.
pub(super) async fn step(parts: &mut Parts, shared: &Shared, name: &str) -> Result<String, ApiError> {
    let Path(mut steps) = Path::<HashMap<String, String>>::from_request_parts(parts, shared)
        .await
        .map_err(|_| ApiError::not_found("the path is not UTF-8"))?;
    steps.remove(name).ok_or_else(|| ApiError::not_found("there is no such route"))
}

/// The whole body as JSON.
async fn read(request: Request) -> Result<Value, ApiError> {
    let too_large = || {
        let detail = format!("the body has more than {BODY_BYTES_MAX} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let admission = request.extensions().get::<Admission>().cloned();
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("the body did not come within {BODY_LIMIT:?}"));
    let bytes = match tokio::time::timeout(BODY_LIMIT, body).await.map_err(late)? {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(error) => return Err(ApiError::new(StatusCode::BAD_REQUEST, "cut", format!("the body could not be read: {error}"))),
    };
    // Whoever sends slowly may be locked out meanwhile.
    if admission.is_none_or(|admission| admission.is_over()) {
        return Err(Admission::refusal());
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| ApiError::invalid("", format!("the body is not UTF-8: {error}")))?;
    let value = json::parse_located(text).map_err(|refused| ApiError::invalid(refused.pointer, refused.message))?;
    match nul(&value, &mut String::new()) {
        None => Ok(value),
        Some(pointer) => Err(ApiError::invalid(pointer, "a text holds a NUL character, which no program can be given")),
    }
}

/// Where a NUL stands.
fn nul(value: &Value, pointer: &mut String) -> Option<String> {
    let length = pointer.len();
    let mut inside = |step: &str, value: &Value| {
        json::push_step(pointer, step);
        let found = if step.contains('\0') { Some(pointer.clone()) } else { nul(value, pointer) };
        pointer.truncate(length);
        found
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
        Value::String(text) => text.contains('\0').then(|| pointer.clone()),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| inside(&at.to_string(), item)),
        Value::Object(map) => map.iter().find_map(|(key, value)| inside(key, value)),
    }
}

/// Checks a value by the schema of a type and makes the type of it.
fn checked<T: DeserializeOwned + JsonSchema + 'static>(value: Value) -> Result<T, ApiError> {
    let known = known::<T>();
    let mistakes = known.1.iter_errors(&value).take(MISTAKES_MAX);
    let mistakes: Vec<Mistake> =
        mistakes.map(|error| Mistake { pointer: error.instance_path().to_string(), message: error.to_string() }).collect();
    if !mistakes.is_empty() {
        return Err(ApiError::mistakes(mistakes));
    }
    serde_json::from_value(value).map_err(|error| ApiError::invalid("", error.to_string()))
}

type Known = Arc<(Value, Validator)>;

/// The schema of a type, compiled once.
fn known<T: JsonSchema + 'static>() -> Known {
    static KNOWN: LazyLock<Mutex<HashMap<TypeId, Known>>> = LazyLock::new(Mutex::default);
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(TypeId::of::<T>()).or_insert_with(compiled::<T>).clone()
}

fn compiled<T: JsonSchema>() -> Known {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    // A schema that cannot be compiled is a mistake of ours that a test finds (`every_input_has_a_schema`); it then refuses nothing, and
    // the type itself still does.
    let validator = jsonschema::validator_for(&schema).or_else(|_| jsonschema::validator_for(&Value::Bool(true)));
    #[expect(clippy::expect_used, reason = "`true` is a schema")]
    Arc::new((schema, validator.expect("`true` is a schema")))
}

/// Names and texts of a query, decoded.
fn pairs(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let wrong = || ApiError::invalid("", "the query is not UTF-8 in percent-encoding");
            Ok((decoded(name).ok_or_else(wrong)?, decoded(value).ok_or_else(wrong)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = text.get(at..at + 2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
                at += 2;
            }
            other => out.push(*other),
        }
    }
    String::from_utf8(out).ok()
}

/// A text of the query as the type that its schema wants. What is no such thing stays a text, and the schema refuses it.
fn typed(text: &str, kind: Option<&Value>) -> Value {
    let wants = |name: &str| match kind {
        Some(Value::String(kind)) => kind == name,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
        _ => false,
    };
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if wants("integer") && plain {
        // Also what is larger than any: the schema says what is.
        return text.parse::<i64>().map_or_else(|_| text.parse::<f64>().map_or(Value::from(text), Value::from), Value::from);
    }
    match text {
        "true" if wants("boolean") => Value::Bool(true),
        "false" if wants("boolean") => Value::Bool(false),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a16_a_nul_is_found_wherever_it_is() {
        for (value, pointer) in [(json!({"a": ["x", "y\0"]}), "/a/1"), (json!({"a/b\0": 1}), "/a~1b\0"), (json!("\0"), "")] {
            assert_eq!(nul(&value, &mut String::new()).as_deref(), Some(pointer), "{value}");
        }
        assert_eq!(nul(&json!({"a": [1, null, true, "x"]}), &mut String::new()), None);
    }

    #[test]
    fn a_query_is_decoded_or_refused() {
        assert_eq!(decoded("a%2Fb+c").as_deref(), Some("a/b c"));
        for bad in ["%", "%2", "%zz", "%ff", "%+f", "%é"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
        assert_eq!(typed("12", Some(&json!("integer"))), json!(12));
        assert_eq!(typed("1e3", Some(&json!(["integer", "null"]))), json!("1e3"));
        assert_eq!(typed("true", Some(&json!("boolean"))), json!(true));
        assert_eq!(typed("true", Some(&json!("string"))), json!("true"));
    }
}
