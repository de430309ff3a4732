//! What every format's header comes down to.

use std::collections::BTreeMap;

use super::gguf::MetaValue;
use super::stored::TensorInfo;

/// What a format's parser finds in a header.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Tensors of types that are not read: the type's name by the tensor's.
    pub(super) unread: BTreeMap<String, String>,
    pub(super) metadata: Vec<(String, MetaValue)>,
    pub(super) config: Option<serde_json::Value>,
}
