//! A key of a LoRA file, cut into its module, its role there and the adapter's name.
//!
//! PEFT writes `MODULE.lora_A.weight`, and `MODULE.lora_A.NAME.weight` where it keeps the adapter's name;
//! kohya `MODULE.lora_down.weight`; diffusers wrote `MODULE.lora.down.weight`,
//! `MODULE.lora_linear_layer.down.weight` and `to_q_lora.down.weight`; LyCORIS has names for each of its
//! kinds. Left out: what a module is (the parent module).

/// What a tensor is to its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// `[rank, in]` of a low-rank pair.
    Down,
    /// `[rank, rank]` between the two.
    Mid,
    /// `[out, rank]` of a low-rank pair.
    Up,
    /// `[out]`, added with the pair.
    UpBias,
    /// A number that stands for the rank in the change's scale.
    Alpha,
    /// DoRA's lengths of the changed rows, or of the changed columns.
    Magnitude,
    /// The left factor of LoKr's Kronecker product.
    KronLeft,
    /// The left factor's own factor `[rows, rank]`.
    KronLeftA,
    /// The left factor's own factor `[rank, columns]`.
    KronLeftB,
    /// The right factor of LoKr's Kronecker product.
    KronRight,
    /// The right factor's own factor `[rows, rank]`; `[rank, rows]` beside a core.
    KronRightA,
    /// The right factor's own factor `[rank, columns]`.
    KronRightB,
    /// `[rank, rank]` between the right factor's two.
    KronRightCore,
    /// `[out, rank]` of LoHa's first product; `[rank, out]` beside a core.
    Hada1A,
    /// `[rank, in]` of LoHa's first product.
    Hada1B,
    /// `[out, rank]` of LoHa's second product; `[rank, out]` beside a core.
    Hada2A,
    /// `[rank, in]` of LoHa's second product.
    Hada2B,
    /// `[rank, rank]` inside LoHa's first product.
    Hada1Core,
    /// `[rank, rank]` inside LoHa's second product.
    Hada2Core,
    /// A difference of the weight.
    Difference,
    /// A difference of the bias.
    BiasDifference,
    /// The weight itself.
    Weight,
    /// The bias itself.
    Bias,
}

/// A key's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    /// The module, in the naming of the file.
    pub module: &'a str,
    /// What the tensor is to it.
    pub role: Role,
    /// The adapter's name, where the key has one.
    pub adapter: Option<&'a str>,
}

const MARKERS: &[(&str, Role)] = &[
    ("lora_A", Role::Down),
    ("lora_down", Role::Down),
    ("lora_B", Role::Up),
    ("lora_up", Role::Up),
    ("lora_mid", Role::Mid),
    ("lora_magnitude_vector", Role::Magnitude),
    ("dora_scale", Role::Magnitude),
    ("lokr_w1", Role::KronLeft),
    ("lokr_w1_a", Role::KronLeftA),
    ("lokr_w1_b", Role::KronLeftB),
    ("lokr_w2", Role::KronRight),
    ("lokr_w2_a", Role::KronRightA),
    ("lokr_w2_b", Role::KronRightB),
    ("lokr_t2", Role::KronRightCore),
    ("hada_w1_a", Role::Hada1A),
    ("hada_w1_b", Role::Hada1B),
    ("hada_w2_a", Role::Hada2A),
    ("hada_w2_b", Role::Hada2B),
    ("hada_t1", Role::Hada1Core),
    ("hada_t2", Role::Hada2Core),
    ("diff", Role::Difference),
    ("w_norm", Role::Difference),
    ("diff_b", Role::BiasDifference),
    ("b_norm", Role::BiasDifference),
    ("lora_alpha", Role::Alpha),
];

/// The parts of a key; `None` for a key of no LoRA.
pub(crate) fn split(key: &str) -> Option<Key<'_>> {
    let whole = |module, role| {
        Some(Key {
            module,
            role,
            adapter: None,
        })
    };
    let (rest, leaf) = match key.rsplit_once('.') {
        Some((rest, leaf @ ("weight" | "bias" | "alpha"))) => (rest, leaf),
        Some((rest, "scale")) => return whole(rest, Role::Weight),
        _ => (key, ""),
    };
    let Some(found) = marked(rest) else {
        return match leaf {
            "weight" => whole(rest, Role::Weight),
            "bias" => whole(rest, Role::Bias),
            "alpha" => whole(rest.strip_suffix(".lora").unwrap_or(rest), Role::Alpha),
            _ => None,
        };
    };
    let role = match (found.role, leaf) {
        (Role::Up, "bias") => Role::UpBias,
        (_, "bias") => return None,
        (_, "alpha") => Role::Alpha,
        (role, _) => role,
    };
    Some(Key { role, ..found })
}

/// What the end of a key without its leaf says.
fn marked(rest: &str) -> Option<Key<'_>> {
    let marker = |segment: &str| {
        let found = MARKERS.iter().find(|(marker, _)| *marker == segment);
        found.map(|(_, role)| *role)
    };
    let (before, last) = rest.rsplit_once('.')?;
    if let Some(role) = marker(last) {
        return Some(Key {
            module: before,
            role,
            adapter: None,
        });
    }
    if let "down" | "up" = last {
        return Some(Key {
            module: without_lora(before),
            role: match last {
                "down" => Role::Down,
                _ => Role::Up,
            },
            adapter: None,
        });
    }
    let (module, segment) = before.rsplit_once('.')?;
    Some(Key {
        module,
        role: marker(segment)?,
        adapter: Some(last),
    })
}

/// The module before `.down` and `.up`. x-labs' modules end in `_lora` themselves.
fn without_lora(module: &str) -> &str {
    if let Some((rest, "lora" | "lora_linear_layer")) = module.rsplit_once('.') {
        return rest;
    }
    let last = module.rsplit('.').next().unwrap_or(module);
    match module.strip_suffix("_lora") {
        Some(rest) if last.starts_with("to_") || last.starts_with("add_") => rest,
        _ => module,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parts(key: &str, role: Role, adapter: Option<&str>) {
        let expected = Key {
            module: "a.b",
            role,
            adapter,
        };
        assert_eq!(split(key), Some(expected), "{key}");
    }

    #[test]
    fn every_spelling_of_a_pair_is_cut_at_its_module() {
        for down in [
            "a.b.lora_A.weight",
            "a.b.lora_A",
            "a.b.lora_down.weight",
            "a.b.lora.down.weight",
            "a.b.lora_linear_layer.down.weight",
            "a.b.down.weight",
        ] {
            parts(down, Role::Down, None);
            let up = down.replace("lora_A", "lora_B").replace("down", "up");
            parts(&up, Role::Up, None);
        }
        parts("a.b.lora_mid.weight", Role::Mid, None);
        parts("a.b.lora_B.bias", Role::UpBias, None);
        let old = split("x.to_q_lora.down.weight").map(|key| key.module);
        assert_eq!(old, Some("x.to_q"));
        let x_labs = split("x.processor.qkv_lora.down.weight").map(|key| key.module);
        assert_eq!(x_labs, Some("x.processor.qkv_lora"));
    }

    #[test]
    fn an_adapter_s_name_stands_after_the_role() {
        parts("a.b.lora_A.my_style.weight", Role::Down, Some("my_style"));
        parts("a.b.lora_B.default.weight", Role::Up, Some("default"));
        parts("a.b.lora_B.default.bias", Role::UpBias, Some("default"));
        let magnitude = "a.b.lora_magnitude_vector.default.weight";
        parts(magnitude, Role::Magnitude, Some("default"));
        parts("a.b.lora_magnitude_vector", Role::Magnitude, None);
        parts("a.b.hada_w1_a.x", Role::Hada1A, Some("x"));
    }

    #[test]
    fn alphas_stand_beside_the_module_or_its_halves() {
        parts("a.b.alpha", Role::Alpha, None);
        parts("a.b.lora.alpha", Role::Alpha, None);
        parts("a.b.lora_alpha", Role::Alpha, None);
        parts("a.b.lora_A.alpha", Role::Alpha, None);
        parts("a.b.lora_down.alpha", Role::Alpha, None);
        parts("a.b.lora_A.default.alpha", Role::Alpha, Some("default"));
    }

    #[test]
    fn weights_and_what_is_no_change() {
        parts("a.b.weight", Role::Weight, None);
        parts("a.b.scale", Role::Weight, None);
        parts("a.b.bias", Role::Bias, None);
        parts("a.b.diff", Role::Difference, None);
        parts("a.b.diff_b", Role::BiasDifference, None);
        for key in ["", "a", "a.b", "a.b.lora_A.bias", "a.b.lora_C.x.y"] {
            assert_eq!(split(key), None, "{key}");
        }
    }
}
