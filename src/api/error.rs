//! Errors of the host as HTTP answers: the one place that knows both.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::dto::ErrorReply;
use crate::diagnostics::Diagnostics;
use crate::host::order::OrderError;
use crate::host::{CommandError, Refused, clock};

/// An answer that says what went wrong.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    reply: Box<ErrorReply>,
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
        Self { status, reply: Box::new(reply) }
    }

    /// What it says.
    pub(super) fn reply(&self) -> &ErrorReply {
        &self.reply
    }

    fn with_diagnostics(mut self, diagnostics: &Diagnostics) -> Self {
        self.reply.errors = diagnostics.iter().filter_map(|item| serde_json::to_value(item).ok()).collect();
        self.reply.rendered = Some(crate::host::render::diagnostics(diagnostics, false));
        self
    }

    fn with_help(mut self, help: Option<String>) -> Self {
        self.reply.help = help;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.reply)).into_response()
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

/// The disk, while something was read from it.
impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let (status, code) =
            if full { (StatusCode::INSUFFICIENT_STORAGE, "disk_full") } else { (StatusCode::SERVICE_UNAVAILABLE, "unreadable") };
        Self::new(status, code, format!("the log cannot be read: {error}"))
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let help = refused.help();
        match refused {
            Refused::Invalid(diagnostics) => {
                let detail = format!("{} mistakes", diagnostics.len());
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with_diagnostics(&diagnostics)
            }
            Refused::NotFound(diagnostic) => Self::new(StatusCode::NOT_FOUND, "not_found", diagnostic.message).with_help(help),
            Refused::NeverFits(lacking) => {
                let text = Refused::NeverFits(lacking).to_string();
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "never_fits", text).with_help(help)
            }
            Refused::Busy(reason) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", reason),
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
            CommandError::Refused(refused) => Self::from(refused),
            CommandError::Gone => Self::new(StatusCode::SERVICE_UNAVAILABLE, "leaving", text),
            CommandError::DiskFull(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", text).with_help(help),
            CommandError::Journal(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "read_only", text).with_help(help),
            CommandError::Unreadable { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "unreadable", text),
        }
    }
}
