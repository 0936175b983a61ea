//! The HTTP API of a host: JSON over HTTP, on the loopback interface unless somebody wants otherwise.
//!
//! `routes` is the table of all routes, each with its scope; `gate` stands before all of them; a file for each group of routes answers.
//! What only the owner's own terminals may do, as naming files by path, lies under `/api/local` and takes the owner's token. Talks to the
//! host's handle and views, and to nothing below.

mod access;
mod artifacts;
mod backlog;
mod config;
mod credentials;
mod download;
mod dto;
mod error;
mod events;
mod form;
mod gate;
mod input;
mod local;
mod logs;
mod modules;
mod openapi;
mod pipelines;
mod route;
mod routes;
mod runs;
mod server;
mod streams;
mod system;
mod tally;
mod validate;
mod work;
mod workers;

pub use access::Link;
pub use dto::{Accepted, CancelRequest, ErrorReply, FindRequest, Health, Mistake, ResumeReply, ResumeRequest};
pub use openapi::document;
pub use route::{RouteInfo, Scope, Verb};
pub use routes::route_list;
pub use server::{Options, Port, Server, start};
