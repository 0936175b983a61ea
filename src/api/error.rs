//! Errors of the host as HTTP answers: the one place that knows both.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::dto::{ErrorReply, Mistake};
use crate::diagnostics::Diagnostics;
use crate::host::look::FindError;
use crate::host::order::OrderError;
use crate::host::saved::SaveError;
use crate::host::{CommandError, Refused, clock};

/// An answer that says what went wrong.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    reply: Box<ErrorReply>,
    headers: HeaderMap,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let reply = ErrorReply {
            detail: detail.into(),
            error_code: code.to_owned(),
            help: None,
            errors: Vec::new(),
            rendered: None,
            timestamp: clock::wall(),
        };
        Self { status, reply: Box::new(reply), headers: HeaderMap::new() }
    }

    /// What it says.
    pub(super) fn reply(&self) -> &ErrorReply {
        &self.reply
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// A module that cannot be used until somebody mends its manifest.
    pub(super) fn broken(mistakes: &Diagnostics) -> Self {
        Self::new(StatusCode::CONFLICT, "broken", "its manifest is broken").with_diagnostics(mistakes)
    }

    /// A value that is refused.
    pub(super) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let mistake = Mistake { pointer: pointer.into(), message: message.into() };
        Self::mistakes(vec![mistake])
    }

    /// Values that are refused.
    pub(super) fn mistakes(mistakes: Vec<Mistake>) -> Self {
        let detail = match mistakes.as_slice() {
            [one] if one.pointer.is_empty() => one.message.clone(),
            [one] => format!("{}: {}", one.pointer, one.message),
            several => format!("{} mistakes", several.len()),
        };
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        error.reply.errors = mistakes.iter().filter_map(|mistake| serde_json::to_value(mistake).ok()).collect();
        error
    }

    /// The same with a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same, to be tried again after so many seconds.
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(super) fn with_diagnostics(mut self, diagnostics: &Diagnostics) -> Self {
        self.reply.errors = diagnostics.iter().filter_map(|item| serde_json::to_value(item).ok()).map(with_pointer).collect();
        self.reply.rendered = Some(crate::host::render::diagnostics(diagnostics, false));
        self
    }

    fn with_help(mut self, help: Option<String>) -> Self {
        self.reply.help = help;
        self
    }
}

/// Every mistake says where it is; what belongs to the whole has the pointer of the whole.
fn with_pointer(mut item: serde_json::Value) -> serde_json::Value {
    if let Some(map) = item.as_object_mut()
        && !map.contains_key("pointer")
    {
        map.insert("pointer".to_owned(), "".into());
    }
    item
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, self.headers, Json(self.reply)).into_response()
    }
}

impl From<FindError> for ApiError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Select(error) => Self::not_found(error.to_string()).with_help(Some(error.help().to_owned())),
            FindError::Command(error) => error.into(),
        }
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Command(error) => error.into(),
            OrderError::Gone(text) => Self::new(StatusCode::GONE, "gone", text),
            OrderError::Io(error) => error.into(),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let help = refused.help();
        match refused {
            Refused::Invalid(diagnostics) => {
                let detail = match diagnostics.iter().collect::<Vec<_>>().as_slice() {
                    [one] => one.message.clone(),
                    several => format!("{} mistakes", several.len()),
                };
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with_diagnostics(&diagnostics)
            }
            Refused::Broken(diagnostics) => Self::broken(&diagnostics),
            Refused::NotFound(diagnostic) => Self::new(StatusCode::NOT_FOUND, "not_found", diagnostic.message).with_help(help),
            Refused::NeverFits(lacking) => {
                let text = Refused::NeverFits(lacking).to_string();
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "never_fits", text).with_help(help)
            }
            Refused::Busy(reason) => Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", reason).retry_after(5),
            Refused::Disk(error) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk", Refused::Disk(error).to_string()),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let text = error.to_string();
        let help = error.help();
        match error {
            CommandError::UnknownRun(_) | CommandError::UnknownNode { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", text),
            CommandError::NotHeld(_) | CommandError::StillRunning(_) => Self::new(StatusCode::CONFLICT, "conflict", text),
            CommandError::KeyUsed(_) => Self::new(StatusCode::CONFLICT, "key_used", text),
            CommandError::Refused(refused) => Self::from(refused),
            CommandError::Gone => Self::new(StatusCode::SERVICE_UNAVAILABLE, "leaving", text),
            CommandError::DiskFull(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", text).with_help(help),
            CommandError::Journal(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "read_only", text).with_help(help),
            CommandError::Unreadable { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unreadable", text),
        }
    }
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Invalid(diagnostics) => Self::from(Refused::Invalid(diagnostics)),
            SaveError::Disk(error) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk", SaveError::Disk(error).to_string()),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "disk", format!("the disk said no: {error}"))
    }
}
