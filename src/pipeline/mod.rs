//! Pipelines: the graph that a file describes, built, checked and ready to be run.
//!
//! [`compile`](compile::compile) makes a [`Definition`](definition::Definition) out of a tree and the registry; all mistakes of all
//! files come at once. Expressions are compiled here and evaluated later against what the nodes reported. Pure: sub-pipelines are
//! brought by the caller through a trait, nothing here reads a file.

pub mod analysis;
pub mod bind;
pub mod compile;
pub mod cycle;
pub mod definition;
mod expansion;
pub mod export;
pub mod expr;
pub mod file;
pub mod graph;
mod links;
mod node;
mod schema_path;
pub mod single;

#[cfg(test)]
pub(crate) mod testing;
