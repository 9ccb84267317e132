//! A home's ways to the workers, and what it owes them while one takes nothing.
//!
//! Not here: the queues. Invariants: what is owed goes out first and in order, so that the answers
//! to one worker stay one sequence; a direct answer is never lost. It is kept here if it is
//! refused, and there is at most one per request that a connection waits for; publications are not
//! kept, because history has them.

use std::collections::VecDeque;

use super::request::{Answer, Request};

/// Hands an answer to the worker with that number; `Err`: its queue takes nothing more.
pub(super) type Out<'o> = dyn FnMut(usize, Answer) -> Result<(), Answer> + 'o;

#[derive(Debug, Default)]
struct Lane {
    /// Direct answers that were refused.
    owed: VecDeque<Answer>,
    /// Requests to be served when the worker has caught up.
    deferred: VecDeque<Request>,
    /// Streams in which the worker is behind.
    behind: usize,
    /// Refused something since the last flush began: not asked again before the next. Always so
    /// while anything is owed.
    shut: bool,
}

#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

impl Lanes {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Lane::default()).collect())
    }

    pub(super) fn workers(&self) -> usize {
        self.0.len()
    }

    /// Sends a direct answer, or keeps it.
    pub(super) fn reply(&mut self, to: usize, answer: Answer, out: &mut Out<'_>) {
        let lane = &mut self.0[to];
        if lane.shut {
            lane.owed.push_back(answer);
        } else if let Err(answer) = out(to, answer) {
            lane.shut = true;
            lane.owed.push_back(answer);
        }
    }

    /// Offers publications or a gap; whether they were taken.
    pub(super) fn offer(&mut self, to: usize, answer: Answer, out: &mut Out<'_>) -> bool {
        let lane = &mut self.0[to];
        lane.shut = lane.shut || out(to, answer).is_err();
        !lane.shut
    }

    /// Asks every worker again, beginning with what it is owed.
    pub(super) fn reopen(&mut self, out: &mut Out<'_>) {
        for (to, lane) in self.0.iter_mut().enumerate() {
            lane.shut = false;
            while let Some(answer) = lane.owed.pop_front() {
                if let Err(answer) = out(to, answer) {
                    lane.owed.push_front(answer);
                    lane.shut = true;
                    break;
                }
            }
        }
    }

    /// Whether the worker has not taken all there is for it.
    pub(super) fn is_congested(&self, worker: usize) -> bool {
        let lane = &self.0[worker];
        lane.behind > 0 || !lane.owed.is_empty()
    }

    /// Whether anything waits for any worker.
    pub(super) fn is_waiting(&self) -> bool {
        self.0
            .iter()
            .any(|lane| lane.behind > 0 || !lane.owed.is_empty() || !lane.deferred.is_empty())
    }

    /// The worker fell behind in one more stream, or caught up in one.
    pub(super) fn count_behind(&mut self, worker: usize, behind: bool) {
        let count = &mut self.0[worker].behind;
        *count = if behind { *count + 1 } else { *count - 1 };
    }

    pub(super) fn defer(&mut self, from: usize, request: Request) {
        self.0[from].deferred.push_back(request);
    }

    /// The next deferred request of a worker that has caught up.
    pub(super) fn take_deferred(&mut self, from: usize) -> Option<Request> {
        if self.is_congested(from) { None } else { self.0[from].deferred.pop_front() }
    }
}
