//! .
#[expect(dead_code)]
mod cid_layout;
#[expect(dead_code)]
mod routes;
