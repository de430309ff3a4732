//! The processes that `mpirun` or Slurm has started, as MPI sees them.
//!
//! MPI ends all processes when one of them ends without a word; one that fails says so with [`World::end_all`].

use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use x2i_core::training::Gradients;
use x2i_core::{Error, Result};

use super::World;

/// MPI's world.
pub struct Processes {
    world: SimpleCommunicator,
    /// MPI ends with it.
    _universe: Universe,
}

impl Processes {
    /// Joins the others. A process that nothing has started is alone.
    ///
    /// # Errors
    /// [`Error::Config`] when it has joined before.
    pub fn join() -> Result<Self> {
        let universe = mpi::initialize()
            .ok_or_else(|| Error::config("MPI", "this process has joined it already"))?;
        Ok(Self {
            world: universe.world(),
            _universe: universe,
        })
    }
}

impl World for Processes {
    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn sum(&self, gradients: &mut Gradients) -> Result<()> {
        // All tensors at once: one message takes the network's latency once.
        let mine: Vec<f32> = gradients
            .iter()
            .flat_map(|(_, values)| values)
            .copied()
            .collect();
        let mut all = vec![0.0f32; mine.len()];
        let sum = SystemOperation::sum();
        self.world.all_reduce_into(&mine[..], &mut all[..], sum);
        let mut rest = &all[..];
        for (_, values) in gradients.iter_mut() {
            let (these, others) = rest.split_at(values.len());
            values.copy_from_slice(these);
            rest = others;
        }
        Ok(())
    }

    fn sum_numbers(&self, numbers: &mut [f64]) -> Result<()> {
        let mine = numbers.to_vec();
        self.world
            .all_reduce_into(&mine[..], numbers, SystemOperation::sum());
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        self.world.barrier();
        Ok(())
    }

    fn end_all(&self) {
        if self.size() > 1 {
            self.world.abort(1);
        }
    }
}
