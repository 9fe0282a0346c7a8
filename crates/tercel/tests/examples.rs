//! The examples run.

#[path = "../examples/echo_async.rs"]
mod echo_async;
#[path = "../examples/echo_callback.rs"]
mod echo_callback;

#[test]
fn echo_by_await() {
    echo_async::main().expect("the example runs");
}

#[test]
fn echo_by_callback() {
    echo_callback::main().expect("the example runs");
}
