//! `tickcast`
fn main() {}
