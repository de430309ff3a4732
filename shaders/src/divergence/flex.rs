//! The divergence on the CPU: rows run in parallel, and all passes over a row find it in the cache.

use burn_flex::{Flex, FlexTensor};

use super::DivergenceOps;
use super::composed::{self, EPS};
use crate::cpu::{Rows, all_f32, each_row, tensor};
use x2i_cpu::vectorize::{Kernel, dot, exp, fold, vectorize};

impl DivergenceOps for Flex {
    fn divergence(student: FlexTensor, teacher: FlexTensor, temperature: f32) -> FlexTensor {
        let shape = student.layout().shape().clone();
        let usual = all_f32([&student, &teacher]) && shape.num_elements() > 0;
        if cfg!(target_family = "wasm") || !usual {
            return composed::divergence::<Self>(student, teacher, temperature);
        }
        let (student, teacher) = (Rows::new(student), Rows::new(teacher));
        let out = each_row(shape[0] * shape[1], 1, |row, out| {
            let (student, teacher) = (student.at(row), teacher.at(row));
            let mut slope = vec![0.0; student.len()];
            out[0] = vectorize(Row {
                student,
                teacher,
                gradient: None,
                temperature,
                slope: &mut slope,
            });
        });
        tensor(out, [shape[0], shape[1], 1])
    }

    fn divergence_gradient(
        student: FlexTensor,
        teacher: FlexTensor,
        gradient: FlexTensor,
        temperature: f32,
    ) -> FlexTensor {
        let shape = student.layout().shape().clone();
        let usual = all_f32([&student, &teacher, &gradient]) && shape.num_elements() > 0;
        if cfg!(target_family = "wasm") || !usual {
            return composed::divergence_gradient::<Self>(student, teacher, gradient, temperature);
        }
        let (student, teacher) = (Rows::new(student), Rows::new(teacher));
        let gradient = Rows::new(gradient);
        let out = each_row(shape[0] * shape[1], student.width(), |row, slope| {
            vectorize(Row {
                student: student.at(row),
                teacher: teacher.at(row),
                gradient: Some(gradient.at(row)[0]),
                temperature,
                slope,
            });
        });
        tensor(out, shape)
    }
}

/// One row; gives its divergence, and writes the slope of the student where there is a gradient.
struct Row<'a> {
    student: &'a [f32],
    teacher: &'a [f32],
    gradient: Option<f32>,
    temperature: f32,
    slope: &'a mut [f32],
}

/// The numbers of a row: feature `x` has the logarithm `(x - mean) factor - rest`.
#[derive(Clone, Copy)]
struct Soft {
    mean: f32,
    deviation: f32,
    factor: f32,
    rest: f32,
}

/// Uses `place` for the centred features, and then for exponentials.
#[inline(always)]
fn soft(x: &[f32], temperature: f32, place: &mut [f32]) -> Soft {
    let mean = fold(x, 0.0, |a, b| a + b) / x.len() as f32;
    for (place, x) in place.iter_mut().zip(x) {
        *place = x - mean;
    }
    let deviation = (dot(place, place) / (x.len().max(2) - 1) as f32).sqrt();
    let factor = 1.0 / ((deviation + EPS) * temperature);
    let most = fold(place, f32::MIN, |a, b| if b > a { b } else { a }) * factor;
    for place in place.iter_mut() {
        *place = exp(*place * factor - most);
    }
    let sum = fold(place, 0.0, |a, b| a + b);
    Soft {
        mean,
        deviation,
        factor,
        rest: most + sum.ln(),
    }
}

impl Kernel for Row<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let Self {
            student,
            teacher,
            gradient,
            temperature,
            slope,
        } = self;
        let its = soft(teacher, temperature, slope);
        let mine = soft(student, temperature, slope);
        let log = |soft: Soft, x: f32| (x - soft.mean) * soft.factor - soft.rest;
        // The exponentials of the student's, over their sum.
        let most = fold(student, f32::MIN, |a, b| if b > a { b } else { a });
        let share = ((most - mine.mean) * mine.factor - mine.rest).exp();
        let mut divergence = 0.0;
        let rows = student.iter().zip(teacher).zip(slope.iter_mut());
        for ((&student, &teacher), slope) in rows {
            *slope *= share;
            divergence += *slope * (log(mine, student) - log(its, teacher));
        }
        let Some(gradient) = gradient else {
            return divergence;
        };
        let rows = student.iter().zip(teacher).zip(slope.iter_mut());
        for ((&student, &teacher), slope) in rows {
            let ratio = log(mine, student) - log(its, teacher);
            *slope *= (ratio - divergence) * (gradient / temperature);
        }
        let features = student.len() as f32;
        let mean = fold(slope, 0.0, |a, b| a + b) / features;
        let along = dot(slope, student) - mean * features * mine.mean;
        let size = mine.deviation + EPS;
        // A row without deviation has no centred features either, but for rounding.
        let along = match mine.deviation > 0.0 {
            true => along / size / ((features - 1.0).max(1.0) * mine.deviation),
            false => 0.0,
        };
        for (slope, student) in slope.iter_mut().zip(student) {
            *slope = (*slope - mean - (student - mine.mean) * along) / size;
        }
        divergence
    }
}
