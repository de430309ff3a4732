//! The processes of a run: gradients are summed over them, one of them writes.

#[cfg(feature = "mpi")]
mod processes;

use x2i_core::Result;
use x2i_core::training::Gradients;

#[cfg(feature = "mpi")]
pub use processes::Processes;

/// All processes of a run, as one of them sees them.
pub trait World {
    /// How many they are.
    fn size(&self) -> usize;

    /// The number of this one, from 0.
    fn rank(&self) -> usize;

    /// Sums gradients over all processes, in every one of them.
    ///
    /// # Errors
    /// When a process has failed.
    fn sum(&self, gradients: &mut Gradients) -> Result<()>;

    /// Sums numbers over all processes, in every one of them.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    fn sum_numbers(&self, numbers: &mut [f64]) -> Result<()>;

    /// Waits for all processes.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    fn wait(&self) -> Result<()>;

    /// True for the process that writes files and prints.
    fn writes(&self) -> bool {
        self.rank() == 0
    }

    /// Ends all processes, for this one has failed; one that is alone goes on.
    fn end_all(&self) {}
}

/// One process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl World for Alone {
    fn size(&self) -> usize {
        1
    }

    fn rank(&self) -> usize {
        0
    }

    fn sum(&self, _: &mut Gradients) -> Result<()> {
        Ok(())
    }

    fn sum_numbers(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        Ok(())
    }
}
