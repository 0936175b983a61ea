//! Expressions and parameters of a run's nodes, evaluated against what the run knows.
//!
//! The only place of this module that calls `pipeline::expr` and `pipeline::bind`.
