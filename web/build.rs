//! Gives the wasm a stack as large as a native thread's: without inlining, futures that hold a whole
//! model on its way to the device are moved through it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("wasm") {
        println!("cargo:rustc-link-arg=-zstack-size={}", 8 << 20);
    }
}
