//! Whole models in two namings: diffusers' and ours.

use crate::common::Made;

/// Pairs of files under construction: every tensor in the foreign naming and in ours.
#[derive(Default)]
pub struct Pair {
    pub foreign: Vec<Made>,
    pub ours: Vec<Made>,
}

impl Pair {
    /// A tensor that is the same in both.
    fn same(&mut self, foreign: &str, ours: &str, shape: &[usize]) {
        let first = self.ours.len() as f32 * 1000.0;
        self.foreign.push(Made::counting(foreign, shape, first));
        self.ours.push(Made::counting(ours, shape, first));
    }

    /// `weight [2, 3]` and `bias [2]` that are the same in both.
    fn layer(&mut self, foreign: &str, ours: &str) {
        self.same(
            &format!("{foreign}.weight"),
            &format!("{ours}.weight"),
            &[2, 3],
        );
        self.same(&format!("{foreign}.bias"), &format!("{ours}.bias"), &[2]);
    }

    /// Layers of which ours holds the rows of one after the other.
    fn joined(&mut self, foreign: &[&str], ours: &str) {
        for (leaf, shape) in [("weight", &[2, 3][..]), ("bias", &[2])] {
            let first = self.ours.len() as f32 * 1000.0;
            let mut all = Made::counting(&format!("{ours}.{leaf}"), shape, first);
            all.shape[0] = 2 * foreign.len();
            all.bytes.clear();
            for (i, foreign) in foreign.iter().enumerate() {
                let part =
                    Made::counting(&format!("{foreign}.{leaf}"), shape, first + i as f32 * 10.0);
                all.bytes.extend(&part.bytes);
                self.foreign.push(part);
            }
            self.ours.push(all);
        }
    }
}

/// A FLUX transformer of three double and two single blocks.
pub fn flux() -> Pair {
    let mut pair = Pair::default();
    pair.layer("x_embedder", "img_in");
    pair.layer("context_embedder", "txt_in");
    for (foreign, ours) in [
        ("timestep_embedder", "time_in"),
        ("text_embedder", "vector_in"),
        ("guidance_embedder", "guidance_in"),
    ] {
        pair.layer(
            &format!("time_text_embed.{foreign}.linear_1"),
            &format!("{ours}.in_layer"),
        );
        pair.layer(
            &format!("time_text_embed.{foreign}.linear_2"),
            &format!("{ours}.out_layer"),
        );
    }
    for n in [0, 1, 10] {
        let (foreign, ours) = (
            format!("transformer_blocks.{n}"),
            format!("double_blocks.{n}"),
        );
        let attn = |name: &str| format!("{foreign}.attn.{name}");
        for (theirs, own) in [
            ("norm1.linear", "img_mod.lin"),
            ("norm1_context.linear", "txt_mod.lin"),
            ("attn.to_out.0", "img_attn.proj"),
            ("attn.to_add_out", "txt_attn.proj"),
            ("ff.net.0.proj", "img_mlp.0"),
            ("ff.net.2", "img_mlp.2"),
            ("ff_context.net.0.proj", "txt_mlp.0"),
            ("ff_context.net.2", "txt_mlp.2"),
        ] {
            pair.layer(&format!("{foreign}.{theirs}"), &format!("{ours}.{own}"));
        }
        for (theirs, own) in [
            ("norm_q", "img_attn.norm.query_norm"),
            ("norm_k", "img_attn.norm.key_norm"),
            ("norm_added_q", "txt_attn.norm.query_norm"),
            ("norm_added_k", "txt_attn.norm.key_norm"),
        ] {
            pair.same(
                &attn(&format!("{theirs}.weight")),
                &format!("{ours}.{own}.scale"),
                &[4],
            );
        }
        let names = ["to_q", "to_k", "to_v"].map(attn);
        pair.joined(
            &names.each_ref().map(String::as_str),
            &format!("{ours}.img_attn.qkv"),
        );
        let names = ["add_q_proj", "add_k_proj", "add_v_proj"].map(attn);
        pair.joined(
            &names.each_ref().map(String::as_str),
            &format!("{ours}.txt_attn.qkv"),
        );
    }
    for n in 0..2 {
        let (foreign, ours) = (
            format!("single_transformer_blocks.{n}"),
            format!("single_blocks.{n}"),
        );
        pair.layer(
            &format!("{foreign}.norm.linear"),
            &format!("{ours}.modulation.lin"),
        );
        pair.layer(&format!("{foreign}.proj_out"), &format!("{ours}.linear2"));
        let norm = |name: &str| format!("{ours}.norm.{name}.scale");
        pair.same(
            &format!("{foreign}.attn.norm_q.weight"),
            &norm("query_norm"),
            &[4],
        );
        pair.same(
            &format!("{foreign}.attn.norm_k.weight"),
            &norm("key_norm"),
            &[4],
        );
        let names = ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"];
        let names = names.map(|name| format!("{foreign}.{name}"));
        pair.joined(
            &names.each_ref().map(String::as_str),
            &format!("{ours}.linear1"),
        );
    }
    pair.layer("proj_out", "final_layer.linear");
    // diffusers: (scale, shift); BFL: (shift, scale)
    for (leaf, shape) in [("weight", &[4, 3][..]), ("bias", &[4])] {
        let theirs = Made::counting(&format!("norm_out.linear.{leaf}"), shape, 500.0);
        let mut own = theirs.clone();
        own.name = format!("final_layer.adaLN_modulation.1.{leaf}");
        let middle = own.bytes.len() / 2;
        own.bytes = [&theirs.bytes[middle..], &theirs.bytes[..middle]].concat();
        pair.foreign.push(theirs);
        pair.ours.push(own);
    }
    pair
}

/// An autoencoder of four resolutions.
pub fn vae() -> Pair {
    let mut pair = Pair::default();
    let resnet = |pair: &mut Pair, foreign: &str, ours: &str| {
        for layer in ["norm1", "conv1", "norm2", "conv2"] {
            pair.layer(&format!("{foreign}.{layer}"), &format!("{ours}.{layer}"));
        }
    };
    for half in ["encoder", "decoder"] {
        pair.layer(&format!("{half}.conv_in"), &format!("{half}.conv_in"));
        pair.layer(&format!("{half}.conv_out"), &format!("{half}.conv_out"));
        pair.layer(
            &format!("{half}.conv_norm_out"),
            &format!("{half}.norm_out"),
        );
        let (foreign, ours) = (format!("{half}.mid_block"), format!("{half}.mid"));
        resnet(
            &mut pair,
            &format!("{foreign}.resnets.0"),
            &format!("{ours}.block_1"),
        );
        resnet(
            &mut pair,
            &format!("{foreign}.resnets.1"),
            &format!("{ours}.block_2"),
        );
        let (foreign, ours) = (format!("{foreign}.attentions.0"), format!("{ours}.attn_1"));
        for (theirs, own) in [
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ] {
            pair.layer(&format!("{foreign}.{theirs}"), &format!("{ours}.{own}"));
        }
    }
    for n in 0..4 {
        let (foreign, ours) = (
            format!("encoder.down_blocks.{n}"),
            format!("encoder.down.{n}"),
        );
        for m in 0..2 {
            resnet(
                &mut pair,
                &format!("{foreign}.resnets.{m}"),
                &format!("{ours}.block.{m}"),
            );
        }
        pair.layer(
            &format!("{foreign}.downsamplers.0.conv"),
            &format!("{ours}.downsample.conv"),
        );
        pair.layer(
            &format!("{foreign}.resnets.0.conv_shortcut"),
            &format!("{ours}.block.0.nin_shortcut"),
        );
        // The deepest block is diffusers' first and BFL's last.
        let (foreign, ours) = (
            format!("decoder.up_blocks.{n}"),
            format!("decoder.up.{}", 3 - n),
        );
        for m in 0..3 {
            resnet(
                &mut pair,
                &format!("{foreign}.resnets.{m}"),
                &format!("{ours}.block.{m}"),
            );
        }
        pair.layer(
            &format!("{foreign}.upsamplers.0.conv"),
            &format!("{ours}.upsample.conv"),
        );
        pair.layer(
            &format!("{foreign}.resnets.0.conv_shortcut"),
            &format!("{ours}.block.0.nin_shortcut"),
        );
    }
    pair
}
