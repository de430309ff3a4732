//! Layers that several models share; a layer's field is named as its checkpoint's tensor.

pub mod computed;
pub mod conv;
pub mod conv1d;
pub mod linear;
pub mod norm;
pub mod rope;
pub mod sinusoid;
pub mod t5;

pub use computed::computed;
pub use conv::Conv2d;
pub use conv1d::Conv1d;
pub use linear::{Bias, Embedding, Linear};
pub use norm::{GroupNorm, LayerNorm, RmsNorm, layer_norm};
pub use sinusoid::sinusoid;
pub use x2i_shaders::{
    Heads, InputBits, attention, gated_residual, gelu_tanh, gelu_tanh_after, modulated_layer_norm,
    norm_rope,
};
