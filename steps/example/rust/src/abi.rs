//! The contract between millrace and a plugin: `engine/abi/step.h`, version 1.1, in Rust. All rules stand there.
//!
//! Nothing here is generated: the header changes only by members at the end of structs, which a plugin that was built
//! against an older one need not know.
#![allow(dead_code)]

use std::ffi::c_void;
use std::os::raw::c_char;

pub const ABI_MAJOR: u32 = 1;
pub const ABI_MINOR: u32 = 1;

pub const OK: i32 = 0;
pub const FAILED: i32 = 1;
pub const CANCELLED: i32 = 2;

pub const PURE: u32 = 0;
pub const IDEMPOTENT: u32 = 1;
pub const KEYED: u32 = 2;
pub const ONCE: u32 = 3;

pub const LANE_CPU: u32 = 0;
pub const LANE_IO: u32 = 1;

pub const TRANSIENT: u32 = 1;
pub const NO_SPACE: u32 = 2;

pub const VALUE_ABSENT: u32 = 0;
pub const VALUE_BOOL: u32 = 1;
pub const VALUE_INT: u32 = 2;
pub const VALUE_FLOAT: u32 = 3;
pub const VALUE_STRING: u32 = 4;
pub const VALUE_JSON: u32 = 5;

#[repr(C)]
pub struct Port {
    pub size: u32,
    pub name: *const c_char,
    pub kind: *const c_char, // `type` in the header
    pub doc: *const c_char,
    pub default_value: *const c_char,
    pub min: i64,
    pub max: i64,
}

#[repr(C)]
pub struct Reason {
    pub size: u32,
    pub name: *const c_char,
    pub doc: *const c_char,
    pub flags: u32,
}

#[repr(C)]
pub struct Blob {
    pub size_of: u32,
    pub present: u32,
    pub data: *const u8,
    pub size: u64,
    pub media_type: *const c_char,
    pub digest: *const c_char,
    pub path: *const c_char,
    pub width: u32,
    pub height: u32,
}

#[repr(C)]
pub struct Value {
    pub size_of: u32,
    pub kind: u32,
    pub i: i64,
    pub d: f64,
    pub s: *const c_char,
    pub n: u64,
}

#[repr(C)]
pub struct Host {
    pub size: u32,
    pub write: unsafe extern "C" fn(*const Call, u32, *const c_void, u64) -> i32,
    pub describe: unsafe extern "C" fn(*const Call, u32, *const c_char, u32, u32) -> i32,
    pub forward: unsafe extern "C" fn(*const Call, u32, u32) -> i32,
    pub result_int: unsafe extern "C" fn(*const Call, u32, i64) -> i32,
    pub result_float: unsafe extern "C" fn(*const Call, u32, f64) -> i32,
    pub result_string: unsafe extern "C" fn(*const Call, u32, *const c_char, u64) -> i32,
    pub result_json: unsafe extern "C" fn(*const Call, u32, *const c_char, u64) -> i32,
    pub fail: unsafe extern "C" fn(*const Call, *const c_char, *const c_char) -> i32,
    pub retry_after: unsafe extern "C" fn(*const Call, i64) -> i32,
    pub note: unsafe extern "C" fn(*const Call, *const c_char) -> i32,
    pub progress: unsafe extern "C" fn(*const Call, u32) -> i32,
    pub setting: unsafe extern "C" fn(*const Call, *const c_char) -> *const c_char,
    pub pixels: unsafe extern "C" fn(*const Call, u32, u64) -> i32,
}

#[repr(C)]
pub struct Call {
    pub size: u32,
    pub host: *const Host,
    pub context: *mut c_void,
    pub inputs: *const Blob,
    pub params: *const Value,
    pub job: *const c_char,
    pub step: *const c_char,
    pub effect_key: *const c_char,
    pub attempt: u32,
    pub timeout_ms: i64,
    pub pixels_max: u64,
}

#[repr(C)]
pub struct Memory {
    pub size: u32,
    pub port: *const c_char,
    pub value: *const c_char,
    pub per_pixel: u64,
    pub per_result_pixel: u64,
}

#[repr(C)]
pub struct Step {
    pub size: u32,
    pub name: *const c_char,
    pub major: u32,
    pub minor: u32,
    pub effect: u32,
    pub lane: u32,
    pub doc: *const c_char,
    pub inputs: *const Port,
    pub input_count: u32,
    pub params: *const Port,
    pub param_count: u32,
    pub outputs: *const Port,
    pub output_count: u32,
    pub results: *const Port,
    pub result_count: u32,
    pub reasons: *const Reason,
    pub reason_count: u32,
    pub settings: *const c_char,
    pub run: unsafe extern "C" fn(*const Call) -> i32,
    pub memory_base: u64,
    pub memory_per_pixel: u64,
    pub memory_per_result_pixel: u64,
    pub result_width: *const c_char,
    pub result_height: *const c_char,
    pub memory: *const Memory,
    pub memory_count: u32,
}

#[repr(C)]
pub struct Plugin {
    pub size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub name: *const c_char,
    pub version: *const c_char,
    pub steps: *const *const Step,
    pub step_count: u32,
    pub load: Option<unsafe extern "C" fn(*mut c_char, usize) -> i32>,
    pub start: Option<unsafe extern "C" fn(*mut c_char, usize) -> i32>,
}

// Declarations are constants that the host only reads.
unsafe impl Sync for Port {}
unsafe impl Sync for Reason {}
unsafe impl Sync for Memory {}
unsafe impl Sync for Step {}
unsafe impl Sync for Plugin {}

/// The size that each struct begins with.
pub const fn size<T>() -> u32 {
    std::mem::size_of::<T>() as u32
}

/// A constant text, ended by a NUL, as the contract wants it.
#[macro_export]
macro_rules! text {
    ($text:expr) => {
        concat!($text, "\0").as_ptr() as *const std::os::raw::c_char
    };
}

/// A port without default and bounds.
pub const fn port(name: *const c_char, kind: *const c_char, doc: *const c_char) -> Port {
    Port { size: size::<Port>(), name, kind, doc, default_value: std::ptr::null(), min: 0, max: 0 }
}
