//! .
#[expect(dead_code)]
mod queue;
