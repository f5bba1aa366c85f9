//! flip_rust: a whole plugin in Rust, without dependencies. One step that inverts every bit of a blob, as
//! `steps/example/flip.c` does in C.
mod abi;

use abi::{port, size, Call, Plugin, Port, Reason, Step};
use std::os::raw::c_void;
use std::ptr::null;
use std::slice;

/// The step itself, in safe Rust: `write` and `progress` answer whether to go on.
fn flip(bytes: &[u8], mut write: impl FnMut(&[u8]) -> bool, mut progress: impl FnMut(u32) -> bool) -> bool {
    let mut done = 0;
    for chunk in bytes.chunks(64 * 1024) {
        let flipped: Vec<u8> = chunk.iter().map(|byte| !byte).collect();
        done += chunk.len();
        if !write(&flipped) || !progress((done * 1000 / bytes.len()) as u32) {
            return false;
        }
    }
    true
}

/// Called for each attempt, in a worker process. It is pure: nothing but its inputs goes in, nothing but its outputs
/// comes out, so it may run twice and nobody can tell.
unsafe extern "C" fn run(call: *const Call) -> i32 {
    let host = &*(*call).host;
    let input = &*(*call).inputs; // the first, and only, input
    if input.size == 0 {
        return (host.fail)(call, text!("empty"), text!("there is not one byte to flip; pass a file that has some"));
    }
    let bytes = slice::from_raw_parts(input.data, input.size as usize);
    let finished = flip(
        bytes,
        |chunk| (host.write)(call, 0, chunk.as_ptr() as *const c_void, chunk.len() as u64) == abi::OK,
        |permille| (host.progress)(call, permille) == abi::OK,
    );
    if !finished {
        return abi::CANCELLED; // the host wants us to stop, or has no room; it knows why
    }
    (host.describe)(call, 0, text!("application/octet-stream"), 0, 0);
    (host.result_int)(call, 0, input.size as i64 * 8);
    abi::OK
}

static INPUTS: [Port; 1] = [port(text!("data"), text!("blob"), text!("the bytes to flip"))];
static OUTPUTS: [Port; 1] = [port(text!("data"), text!("blob"), text!("each bit inverted"))];
static RESULTS: [Port; 1] = [port(text!("bits"), text!("int"), text!("how many were flipped"))];
static REASONS: [Reason; 1] =
    [Reason { size: size::<Reason>(), name: text!("empty"), doc: text!("The blob has no bytes."), flags: 0 }];

static FLIP: Step = Step {
    size: size::<Step>(),
    name: text!("flip_rust"),
    major: 1,
    minor: 0,
    effect: abi::PURE,
    lane: abi::LANE_CPU,
    doc: text!("Inverts every bit of a blob."),
    inputs: INPUTS.as_ptr(),
    input_count: INPUTS.len() as u32,
    params: null(),
    param_count: 0,
    outputs: OUTPUTS.as_ptr(),
    output_count: OUTPUTS.len() as u32,
    results: RESULTS.as_ptr(),
    result_count: RESULTS.len() as u32,
    reasons: REASONS.as_ptr(),
    reason_count: REASONS.len() as u32,
    settings: null(),
    run,
    memory_base: 0,
    memory_per_pixel: 0,
    memory_per_result_pixel: 0,
    result_width: null(),
    result_height: null(),
    memory: null(),
    memory_count: 0,
};

/// A pointer that may stand in a constant.
#[repr(transparent)]
struct Shared(*const Step);
unsafe impl Sync for Shared {}
static STEPS: [Shared; 1] = [Shared(&FLIP)];

/// The one symbol that the host looks for.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static mr_plugin_v1: Plugin = Plugin {
    size: size::<Plugin>(),
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    name: text!("flip_rust"),
    version: text!("1.0.0"),
    steps: STEPS.as_ptr() as *const *const Step,
    step_count: STEPS.len() as u32,
    load: None,
    start: None,
};

#[cfg(test)]
mod tests {
    #[test]
    fn twice_is_nothing() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        assert!(super::flip(&bytes, |chunk| { once.extend_from_slice(chunk); true }, |_| true));
        assert!(super::flip(&once, |chunk| { twice.extend_from_slice(chunk); true }, |_| true));
        assert_ne!(once, bytes);
        assert_eq!(twice, bytes);
        assert!(!super::flip(&bytes, |_| true, |_| false), "it hears that it should stop");
    }
}
