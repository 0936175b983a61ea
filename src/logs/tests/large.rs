//! A large log.
