//! What to say when a user gives a part of a model for the whole: the transformer's file, or FLUX's
//! folder as it was downloaded.

use std::path::Path;

/// The parts that FLUX's publishers do not give, and how to get them.
const REST: &str = "the multimodal LLM (`huggingface-cli download Qwen/Qwen2.5-VL-7B-Instruct \
                    --local-dir DIR/mllm`) and AlignNet (`huggingface-cli download OPPOer/X2I \
                    qwen2.5-vl-7b_proj.pt --local-dir DIR/proj`)";

/// Why a file is no model.
pub(super) fn lone_file(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let is_weights = ["gguf", "safetensors", "sft"]
        .iter()
        .any(|known| extension == *known);
    if !is_weights {
        return "is a file; a model is a folder".to_owned();
    }
    format!(
        "is one weight file; a model is a folder DIR that holds FLUX as DIR/flux/{name}, the VAE \
         (`huggingface-cli download black-forest-labs/FLUX.1-schnell ae.safetensors --local-dir \
         DIR/flux`), {REST}"
    )
}

/// Why a folder is no model, where it is FLUX's as its publishers lay it out, and nothing else, or a converted model
/// that lacks its config.
pub(super) fn lone_flux(folder: &Path) -> Option<String> {
    // A link that leads nowhere is there.
    let has = |name: &str| folder.join(name).symlink_metadata().is_ok();
    let whole = ["model.json", "x2i.json", "mllm", "flux", "proj"];
    if whole.iter().any(|name| has(name)) {
        return None;
    }
    if has("encoder.gguf") && has("align_net.gguf") {
        return Some("is a converted model without its model.json; get that file too".to_owned());
    }
    let is_flux = has("transformer/config.json") || names_transformer(folder);
    is_flux.then(|| {
        format!(
            "is FLUX alone; a model is a folder DIR that holds it as DIR/flux (or names it as \"flux\" \
             in DIR/x2i.json), {REST}"
        )
    })
}

/// Whether a file's name says that it is FLUX's transformer.
fn names_transformer(folder: &Path) -> bool {
    let names = folder.read_dir().into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().to_lowercase());
    names.any(|name| {
        let weights = [".gguf", ".safetensors", ".sft"];
        name.contains("flux")
            && !name.contains("vae")
            && weights.iter().any(|extension| name.ends_with(extension))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_transformers_file_is_told_from_others() {
        let sentence = lone_file(Path::new("/x/flux1-dev-Q4_0.GGUF"));
        for word in [
            "DIR/flux/flux1-dev-Q4_0.GGUF",
            "ae.safetensors",
            "mllm",
            "_proj.pt",
        ] {
            assert!(sentence.contains(word), "{sentence}");
        }
        assert_eq!(
            lone_file(Path::new("a.png")),
            "is a file; a model is a folder"
        );
    }

    #[test]
    fn fluxs_folder_is_told_from_a_model_and_from_an_llm()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = tempfile::tempdir()?;
        let folder = |name: &str, files: &[&str]| -> std::io::Result<_> {
            let folder = root.path().join(name);
            for file in files {
                let file = folder.join(file);
                fs::create_dir_all(file.parent().unwrap_or(&folder))?;
                fs::write(file, "")?;
            }
            Ok(lone_flux(&folder))
        };
        let diffusers = folder("a", &["model_index.json", "transformer/config.json"])?;
        assert!(diffusers.is_some_and(|sentence| sentence.contains("OPPOer/X2I")));
        for file in ["flux1-dev.safetensors", "FLUX.1-schnell-Q8_0.gguf"] {
            assert!(folder(file, &[file, "ae.safetensors"])?.is_some(), "{file}");
        }
        assert_eq!(folder("b", &["x2i.json", "flux1-dev.safetensors"])?, None);
        assert_eq!(folder("c", &["flux/transformer/config.json"])?, None);
        assert_eq!(folder("d", &["Qwen2.5-VL-7B-Q4_K_M.gguf"])?, None);
        assert_eq!(folder("e", &["config.json", "model.safetensors"])?, None);
        Ok(())
    }
}
