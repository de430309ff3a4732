//! FLUX.1's siblings that take more than latents, told by the width of their first layer.
//!
//! Fill's latents come with a masked picture and its mask, Canny's and Depth's with a picture of edges
//! or depths, side by side in the channels. Kontext and Krea have dev's layout and can't be told by it;
//! they paint as dev does.

/// Why a transformer of these shapes can't paint here; none where it can. `img_in` is its first
/// weight, `[hidden, in]`, `last` its last, `[out, hidden]`.
pub(super) fn refusal(img_in: &[usize], last: &[usize]) -> Option<String> {
    let (&[_, input], &[output @ (1..), _]) = (img_in, last) else {
        return None;
    };
    let double = output.saturating_mul(2);
    let sibling = match input {
        _ if input == double => {
            "FLUX.1 Canny or Depth, which paint after a picture of edges or depths"
        }
        _ if input > double => "FLUX.1 Fill, which paints into a masked picture",
        // Equal, or of a broken model, as its config then says.
        _ => return None,
    };
    Some(format!(
        "takes {input} channels where latents have {output}: it is of {sibling}, and is not \
         supported; take FLUX.1-dev or FLUX.1-schnell"
    ))
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn siblings_are_told_by_their_channels() {
        let said = |input, output| refusal(&[3072, input], &[output, 3072]).unwrap_or_default();
        assert_eq!(said(64, 64), "");
        assert!(
            said(128, 64).contains("Canny or Depth"),
            "{}",
            said(128, 64)
        );
        assert!(said(384, 64).contains("Fill"), "{}", said(384, 64));
        assert_eq!(said(80, 64), "");
        assert!(
            said(96, 16).contains("Fill"),
            "whatever the latents' channels"
        );
        // Packed numbers have another shape, and tell nothing.
        assert_eq!(refusal(&[64], &[64, 3072]), None);
    }
}
