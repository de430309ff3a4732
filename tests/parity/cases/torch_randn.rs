//! `torch.randn` of a CPU generator: key names say seed, size and kind of draw.

use x2i_core::flux::noise::TorchRng;

use crate::case::{Case, Outcome};
use crate::report::Report;

/// The README's tolerance: vector libraries differ in the last bits.
const TOLERANCE: f32 = 1e-6;
/// Rows and columns of the stored latents are every fourth of the draw's.
const LATENT_STRIDE: usize = 4;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    for name in case.golden.names() {
        let Some((seed, draw)) = name
            .strip_prefix("seed")
            .and_then(|rest| rest.split_once('.'))
        else {
            report.note(format!("{name}: unknown key"));
            continue;
        };
        let (golden, _) = case.golden.f32(name).await?;
        let mut rng = TorchRng::new(seed.parse()?);
        let ours = if let Some(shape) = draw.strip_prefix("latents_") {
            every_fourth_pixel(&mut rng, shape)?
        } else if let Some(count) = draw.strip_prefix("two_draws_n") {
            let count = count.parse()?;
            [rng.randn(count), rng.randn(count)].concat()
        } else if let Some(count) = draw.strip_prefix("bf16_n") {
            rng.randn_bf16(count.parse()?)
        } else if let Some(count) = draw.strip_prefix('n') {
            rng.randn(count.parse()?)
        } else {
            report.note(format!("{name}: unknown kind of draw"));
            continue;
        };
        report.close_within(name, &ours, &golden, TOLERANCE);
    }
    Ok(())
}

/// One draw of a shape such as `1x16x32x48`, thinned as the golden is.
fn every_fourth_pixel(
    rng: &mut TorchRng,
    shape: &str,
) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let shape: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
    let [.., height, width] = shape[..] else {
        return Err("a latent has at least two axes".into());
    };
    let all = rng.randn(shape.iter().product());
    let kept = all.iter().enumerate().filter(|(index, _)| {
        let (row, column) = (index / width % height, index % width);
        row % LATENT_STRIDE == 0 && column % LATENT_STRIDE == 0
    });
    Ok(kept.map(|(_, &value)| value).collect())
}
