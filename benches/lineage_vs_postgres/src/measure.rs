//! Times of both sides, taken in turns, so that what else the machine does falls on both.

use std::time::Duration;
use std::time::Instant;

use crate::question::Question;
use crate::question::Side;

/// Questions of one side before it is the other's turn.
const TURN: usize = 25;
/// How long one side is asked by many callers before it is the other's turn.
const TURN_OF_MANY: Duration = Duration::from_millis(700);
/// Turns of each side, where many callers ask.
const TURNS_OF_MANY: usize = 4;

/// Times of one side.
#[derive(Default)]
pub struct Times {
    times: Vec<Duration>,
    spent: Duration,
}

impl Times {
    /// The time that this share of the questions did not exceed.
    pub fn percentile(&mut self, share: f64) -> Duration {
        self.times.sort_unstable();
        self.times.get(((self.times.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or_default()
    }

    /// Answers a second, over the time in which this side was asked.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.spent.as_secs_f64()
    }
}

/// All questions by one caller of each side, in turns. The first turn of each is not counted: it prepares and connects.
pub fn one_caller(questions: &[Question], mut sides: [&mut dyn Side; 2]) -> anyhow::Result<[Times; 2]> {
    let mut times = [Times::default(), Times::default()];
    let warm = &questions[..TURN.min(questions.len())];
    for (turn, questions) in std::iter::once(warm).chain(questions.chunks(TURN)).enumerate() {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let turn_began = Instant::now();
            for question in questions {
                let began = Instant::now();
                std::hint::black_box(side.ask(question)?);
                if turn > 0 {
                    times.times.push(began.elapsed());
                }
            }
            if turn > 0 {
                times.spent += turn_began.elapsed();
            }
        }
    }
    Ok(times)
}

/// Questions by many callers of each side, in turns.
pub fn many_callers(questions: &[Question], mut sides: [&mut [Box<dyn Side>]; 2]) -> anyhow::Result<[Times; 2]> {
    let mut times = [Times::default(), Times::default()];
    for turn in 0..=TURNS_OF_MANY {
        for (callers, times) in sides.iter_mut().zip(&mut times) {
            let (taken, spent) = turn_of_many(questions, callers, turn)?;
            if turn > 0 {
                times.times.extend(taken);
                times.spent += spent;
            }
        }
    }
    Ok(times)
}

fn turn_of_many(questions: &[Question], callers: &mut [Box<dyn Side>], turn: usize) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let began = Instant::now();
    let stride = questions.len() / callers.len() + 1;
    let taken = std::thread::scope(|scope| {
        let ask = |number: usize, caller: &mut Box<dyn Side>| {
            let mut times = Vec::new();
            let mut at = number * stride + turn * 31;
            while began.elapsed() < TURN_OF_MANY {
                let asked = Instant::now();
                std::hint::black_box(caller.ask(&questions[at % questions.len()])?);
                times.push(asked.elapsed());
                at += 1;
            }
            anyhow::Ok(times)
        };
        let started: Vec<_> = callers.iter_mut().enumerate().map(|(number, caller)| scope.spawn(move || ask(number, caller))).collect();
        let joined = started.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?);
        joined.collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok((taken.concat(), began.elapsed()))
}
