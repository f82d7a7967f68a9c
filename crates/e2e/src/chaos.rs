//! Chaos: servers, workers and connections are killed at random while actions are asked for, performed and followed;
//! then an oracle compares what was acknowledged, what is stored, and what each subscriber saw.
//!
//! Whoever takes part writes down what it was told, and trusts nothing. The [`oracle`] is pure: it gets the [`history`]
//! and what the database holds at the end, and answers what contradicts the promises.

pub mod child;
pub mod history;
pub mod killer;
pub mod members;
pub mod oracle;
pub mod random;
pub mod run;
pub mod service;
pub mod stored;
pub mod subscriber;
pub mod summary;
pub mod work;
pub mod worker;
pub mod world;
pub mod writer;
