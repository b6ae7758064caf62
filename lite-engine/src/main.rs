//! The agent as a program of its own.

fn main() {
    lite_engine::holder::run_holder_if_asked();
    lite_engine::supervisor::run_if_asked(lite_engine::run);
}
