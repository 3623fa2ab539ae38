//! How the shop changes: one line of orders, three marks on it, and the ticks that move the marks.
//!
//! Orders are numbered from 0 in the order of their making. The oldest are shipped, the next ones paid, the newest open:
//! so three numbers tell the state of every order, however many there are. A tick moves all three, and remembers when.

use std::ops::Range;

/// The seconds from an order's making to its payment, before the sandbox started.
const PAID_AFTER_SECONDS: i64 = 3_600;
/// The seconds from an order's making to its shipment, before the sandbox started.
const SHIPPED_AFTER_SECONDS: i64 = 2 * 86_400;
/// The part of the orders that one tick moves: one in this many.
const ORDERS_PER_STEP: u64 = 200;
/// The most orders that one tick makes, pays and ships.
const STEP_MAX: u64 = 50;

/// Where the line of orders stands: `shipped <= paid <= created`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The number of orders.
    pub created: u64,
    /// The number of orders paid for, which is also the number of invoices.
    pub paid: u64,
    /// The number of orders shipped, which is also the number of shipments.
    pub shipped: u64,
}

/// One of the three marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The order was made.
    Created,
    /// It was paid for.
    Paid,
    /// It was shipped.
    Shipped,
}

/// The shop's past and present. Times are whole seconds since 1970.
#[derive(Debug, Clone)]
pub struct Life {
    base: Marks,
    begins: i64,
    ends: i64,
    step: u64,
    ticks: Vec<(i64, Marks)>,
}

impl Life {
    /// A shop whose orders were made evenly from `begins` to `ends`, the time at which the sandbox starts.
    pub fn new(base: Marks, begins: i64, ends: i64) -> Self {
        Self { base, begins, ends, step: (base.created / ORDERS_PER_STEP).clamp(1, STEP_MAX), ticks: Vec::new() }
    }

    /// Where the marks stand now.
    pub fn marks(&self) -> Marks {
        self.ticks.last().map_or(self.base, |(_, marks)| *marks)
    }

    /// The number of ticks so far.
    pub fn ticks(&self) -> u64 {
        self.ticks.len() as u64
    }

    /// Moves the marks: some open orders are paid, some paid ones shipped, new ones made; returns the marks from before.
    pub fn tick(&mut self, at: i64) -> Marks {
        let before = self.marks();
        let latest = self.ticks.last().map_or(self.ends, |(at, _)| *at);
        let after = Marks {
            created: before.created + self.step,
            paid: before.paid + self.step.min(before.created - before.paid),
            shipped: before.shipped + self.step.min(before.paid - before.shipped),
        };
        self.ticks.push((at.max(latest), after));
        before
    }

    /// When order `index` passed the mark; never falls as `index` grows. Meaningful for `index` below the mark only.
    pub fn passed(&self, mark: Mark, index: u64) -> i64 {
        let of = |marks: &Marks| match mark {
            Mark::Created => marks.created,
            Mark::Paid => marks.paid,
            Mark::Shipped => marks.shipped,
        };
        if index < of(&self.base) {
            let delay = match mark {
                Mark::Created => 0,
                Mark::Paid => PAID_AFTER_SECONDS,
                Mark::Shipped => SHIPPED_AFTER_SECONDS,
            };
            return (self.past(index, self.base.created) + delay).min(self.ends);
        }
        let tick = self.ticks.partition_point(|(_, marks)| of(marks) <= index);
        self.ticks.get(tick).map_or(self.ends, |(at, _)| *at)
    }

    /// The time of item `index` of `count` items spread evenly over the past.
    pub fn past(&self, index: u64, count: u64) -> i64 {
        let span = u128::from(self.ends.abs_diff(self.begins));
        let offset = u128::from(index) * span / u128::from(count.max(1));
        self.begins.saturating_add(i64::try_from(offset).unwrap_or(i64::MAX))
    }

    /// How many ticks have touched item `index` of `count` items, of which each tick touches one, in turn.
    pub fn touches(&self, index: u64, count: u64) -> u64 {
        let ticks = self.ticks();
        ticks / count + u64::from(index < ticks % count)
    }

    /// When a tick last touched item `index` of `count`, if one did.
    pub fn touched(&self, index: u64, count: u64) -> Option<i64> {
        let last = self.touches(index, count).checked_sub(1)? * count + index;
        self.ticks.get(usize::try_from(last).ok()?).map(|(at, _)| *at)
    }

    /// The stretches of the line of orders within which the time of the last change never falls, with the mark that tells it.
    pub fn stretches(&self) -> [(Range<u64>, Mark); 3] {
        let Marks { created, paid, shipped } = self.marks();
        [(0..shipped, Mark::Shipped), (shipped..paid, Mark::Paid), (paid..created, Mark::Created)]
    }

    /// The same for items that ticks touch in turn: those touched in this round, those not yet.
    pub fn rounds(&self, count: u64) -> [Range<u64>; 2] {
        let turn = self.ticks() % count;
        [0..turn, turn..count]
    }
}
