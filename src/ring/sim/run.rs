//! Who takes a step when, and when time passes.
//!
//! Invariant: time creeps with every step and jumps only when a whole round of steps did nothing,
//! no worker asked to be back by now, and nothing waits to be handed out.

use std::fmt;

use super::Sim;
use super::random::Announce;

/// Rounds in which nothing happened and nothing was due, before a run counts as stuck.
const STILL_ROUNDS_MAX: u32 = 3;

/// A run that did not come to its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// Nothing can ever happen again: everybody waits, and nothing is under way.
    Still,
    /// The steps are used up.
    Exhausted,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Still => "everybody waits and nothing is under way",
            Self::Exhausted => "the steps are used up",
        })
    }
}

impl std::error::Error for Stuck {}

/// Prints the last events when the test panics while it lives.
struct Witness<'s>(&'s Sim);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            match self.0.world.try_borrow() {
                Ok(world) => eprintln!("at {} ns, the last events:\n{}", world.now_ns, world.log),
                Err(_) => eprintln!("the panic came from inside the simulated kernel"),
            }
        }
    }
}

impl Sim {
    /// Runs `steppers` (each call one turn of a worker, or one act of a script) in the seed's order
    /// until `condition` holds. The number of steps taken.
    ///
    /// # Panics
    /// When it does not come to that in `steps_max` steps, or never can. The seed and the last
    /// events are printed then, as with any panic of a stepper.
    pub fn run_until(
        &self,
        condition: impl FnMut() -> bool,
        steppers: &mut [&mut dyn FnMut()],
        steps_max: u64,
    ) -> u64 {
        let _announce = Announce(self.seed);
        let _witness = Witness(self);
        match self.try_run_until(condition, steppers, steps_max) {
            Ok(steps) => steps,
            Err(stuck) => panic!("the run does not reach its condition: {stuck}"),
        }
    }

    /// As [`Sim::run_until`], for runs that may fail to get there.
    ///
    /// # Errors
    /// Why the condition was not reached.
    pub fn try_run_until(
        &self,
        mut condition: impl FnMut() -> bool,
        steppers: &mut [&mut dyn FnMut()],
        steps_max: u64,
    ) -> Result<u64, Stuck> {
        let (mut steps, mut still_rounds) = (0, 0);
        let mut order: Vec<usize> = (0..steppers.len()).collect();
        while !condition() {
            if steps >= steps_max {
                return Err(Stuck::Exhausted);
            }
            let events = self.begin_round(&mut order);
            let mut whole = true;
            for &index in &order {
                if self.passes_over() {
                    whole = false;
                    continue;
                }
                steppers[index]();
                steps += 1;
                self.creep();
            }
            // A round without anybody counts too, or an empty list of steppers would run forever.
            steps += u64::from(order.is_empty());
            if !whole || !self.is_idle(events) || self.advance_to_next() {
                still_rounds = 0;
                continue;
            }
            still_rounds += 1;
            if still_rounds > STILL_ROUNDS_MAX && !condition() {
                return Err(Stuck::Still);
            }
        }
        Ok(steps)
    }

    /// Runs until `at_ns`, whatever happens.
    ///
    /// # Panics
    /// As [`Sim::run_until`].
    pub fn run_to(&self, at_ns: u64, steppers: &mut [&mut dyn FnMut()], steps_max: u64) -> u64 {
        self.alarm(at_ns);
        self.run_until(|| self.now_ns() >= at_ns, steppers, steps_max)
    }

    fn begin_round(&self, order: &mut [usize]) -> u64 {
        let world = &mut *self.world.borrow_mut();
        world.random.shuffle(order);
        for kernel in &mut world.kernels {
            kernel.turned = false;
        }
        world.log.count()
    }

    fn passes_over(&self) -> bool {
        let world = &mut *self.world.borrow_mut();
        let slow = world.options.faults.slow_workers;
        world.fault(slow)
    }

    fn creep(&self) {
        let world = &mut *self.world.borrow_mut();
        world.now_ns += 1_000 + world.random.below(9_000);
        world.settle();
    }

    /// Whether nothing happened since `events`, and nobody who took a turn has more to do now.
    fn is_idle(&self, events: u64) -> bool {
        let world = &*self.world.borrow();
        let mut turned = world.kernels.iter().filter(|kernel| kernel.turned && !kernel.gone);
        world.log.count() == events && !turned.any(|kernel| kernel.is_busy(world))
    }
}
