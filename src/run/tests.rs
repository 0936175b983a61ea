//! Tests of the transition function.
