//! The agent as a program of its own.

fn main() {
    lite_engine::holder::run_holder_if_asked();
}
