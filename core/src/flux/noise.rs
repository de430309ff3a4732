//! `torch.randn` of a CPU generator, on the host: one seed gives the same noise on every device,
//! and the same as in diffusers.
//!
//! Source: PyTorch's `CPUGeneratorImpl`, `TransformationHelper.h` and `DistributionTemplates.h`
//! (2.5). Sixteen or more values are drawn as uniforms and turned into normals in groups of 16;
//! fewer come one by one from a double-precision Box-Muller pair whose second half is kept.

use half::bf16;

const STATE: usize = 624;
const SHIFT: usize = 397;
const GROUP: usize = 16;

/// A generator as `torch.Generator("cpu").manual_seed(seed)`.
#[derive(Debug, Clone)]
pub struct TorchRng {
    state: [u32; STATE],
    next: usize,
    /// The second half of the last Box-Muller pair.
    cached: Option<f64>,
}

impl TorchRng {
    /// Seeds the Mersenne twister with the low 32 bits of `seed`, as PyTorch does.
    pub fn new(seed: u64) -> Self {
        let mut state = [0u32; STATE];
        state[0] = seed as u32;
        for index in 1..STATE {
            let last = state[index - 1];
            state[index] = 1_812_433_253u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(index as u32);
        }
        Self {
            state,
            next: STATE,
            cached: None,
        }
    }

    /// `torch.randn(count, dtype=float32)`.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        self.draw(count, 24, |value| value, normal_group)
    }

    /// `torch.randn(count, dtype=bfloat16)`, widened: every step is rounded to bfloat16.
    pub fn randn_bf16(&mut self, count: usize) -> Vec<f32> {
        self.draw(count, 8, round_bf16, normal_group_bf16)
    }

    /// `torch.rand(count)`: uniform numbers in 0..1.
    pub fn uniforms(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.uniform(24)).collect()
    }

    /// Normals of a type whose uniforms have `bits` bits; `normal` turns a group of uniforms into
    /// normals.
    fn draw(
        &mut self,
        count: usize,
        bits: u32,
        round: fn(f32) -> f32,
        normal: fn(&mut [f32]),
    ) -> Vec<f32> {
        if count < GROUP {
            return (0..count)
                .map(|_| round(self.normal_f64() as f32))
                .collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform(bits)).collect();
        values.chunks_exact_mut(GROUP).for_each(normal);
        if !count.is_multiple_of(GROUP) {
            // A ragged tail is drawn anew as a whole last group.
            let tail = &mut values[count - GROUP..];
            tail.iter_mut()
                .for_each(|value| *value = self.uniform(bits));
            normal(tail);
        }
        values
    }

    /// A uniform value in 0..1 of `bits` bits.
    fn uniform(&mut self, bits: u32) -> f32 {
        let scale = (1u32 << bits) as f32;
        (self.next_u32() & ((1 << bits) - 1)) as f32 / scale
    }

    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        let bits = (high << 32 | low) & ((1 << 53) - 1);
        bits as f64 / (1u64 << 53) as f64
    }

    fn normal_f64(&mut self) -> f64 {
        if let Some(value) = self.cached.take() {
            return value;
        }
        let turn = self.uniform_f64();
        let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * turn).sin_cos();
        self.cached = Some(radius * sine);
        radius * cosine
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for index in 0..STATE {
            let mixed =
                (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % STATE] & 0x7fff_ffff);
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + SHIFT) % STATE] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }
}

/// Sixteen uniforms to normals: the first eight give radii, the last eight angles.
fn normal_group(group: &mut [f32]) {
    for index in 0..GROUP / 2 {
        let radius = (-2.0 * (1.0 - group[index]).ln()).sqrt();
        let (sine, cosine) = (std::f32::consts::TAU * group[index + GROUP / 2]).sin_cos();
        group[index] = radius * cosine;
        group[index + GROUP / 2] = radius * sine;
    }
}

fn normal_group_bf16(group: &mut [f32]) {
    for index in 0..GROUP / 2 {
        let log = round_bf16(round_bf16(1.0 - group[index]).ln());
        let radius = round_bf16(round_bf16(-2.0 * log).sqrt());
        let angle =
            round_bf16((std::f64::consts::TAU * f64::from(group[index + GROUP / 2])) as f32);
        group[index] = round_bf16(radius * round_bf16(angle.cos()));
        group[index + GROUP / 2] = round_bf16(radius * round_bf16(angle.sin()));
    }
}

fn round_bf16(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twister_gives_mt19937s_published_first_word() {
        assert_eq!(TorchRng::new(5489).next_u32(), 3_499_211_612);
    }

    #[test]
    fn only_the_low_32_bits_of_a_seed_count() {
        assert_eq!(
            TorchRng::new(7).randn(20),
            TorchRng::new(7 + (1 << 32)).randn(20)
        );
    }
}
