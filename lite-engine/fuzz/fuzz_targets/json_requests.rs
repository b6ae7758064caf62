//! Requests of the incumbent's protocol: anything is read or refused, and what
//! was read is written such that it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lite_engine_fuzz::incumbent::{
    DestroyRequest, MintRequest, PollRequest, SetupRequest, StartStepRequest, StreamRequest,
    SuspendRequest, decode, encode,
};

macro_rules! read_and_write {
    ($data:expr, $($request:ty),+) => {
        $(if let Ok(request) = decode::<$request>($data) {
            let written = encode(&request);
            let again = decode::<$request>(&written).expect("what was written can be read");
            assert_eq!(encode(&again), written);
        })+
    };
}

fuzz_target!(|data: &[u8]| {
    read_and_write!(
        data,
        SetupRequest,
        StartStepRequest,
        PollRequest,
        StreamRequest,
        DestroyRequest,
        SuspendRequest,
        MintRequest
    );
});
