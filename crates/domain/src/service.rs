//! Use cases: what Deed does, in terms of the ports.
