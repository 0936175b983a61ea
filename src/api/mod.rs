//! The channel to a host: JSON over HTTP on the loopback interface.
//!
//! What is here is what other terminals of the same owner need: submit, follow, cancel, resume, retry. Every route but `health` takes
//! the owner's token and lies under `/api/local`; the `Host` header is checked before anything else. Talks to the host's handle only.

mod backlog;
mod download;
mod dto;
mod error;
mod events;
mod local;
mod logs;
mod server;
mod streams;

pub use dto::{Accepted, CancelRequest, ErrorReply, Health, ResumeReply, ResumeRequest};
pub use server::{Server, start};
