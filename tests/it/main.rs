//! Tests of whole parts: real programs, real files.

mod engine;
