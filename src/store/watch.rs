//! The watchdog: who is inside the engine or a segment file at this moment, and for how long.
//!
//! A damaged page can make a call of sled 0.34 spin for ever (SLED.md), and a panic inside it leaves a store that nobody knows.
//! Neither heals by waiting. So every call is registered in a slot of its thread: two stores of a number, no lock, nothing
//! allocated. A monitor looks at the slots: a call past [`Limits::slow`] is logged with its name and the store says that it
//! does not answer; past [`Limits::hung`], or when a call panics, the process is ended by an action that the gateway gives.
//! That loses nothing: what was acknowledged is on disk, and stops are read first at the next start.
//!
//! Time is counted in the monitor's looks, not read from a clock: a process that was suspended has not looked either, and
//! finds nothing late when it wakes.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::store::StoreError;

/// Threads that can be inside a store at once and be seen; further ones are not watched. Tokio's own limit is 512.
const SLOTS_MAX: usize = 1024;

/// When a call is late, and how often that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A call past this is logged, and the store says that it does not answer.
    pub slow: Duration,
    /// A call past this never comes back: the process is ended.
    pub hung: Duration,
    /// The time between two looks.
    pub look_every: Duration,
}

impl Default for Limits {
    /// Far above any call of a healthy store: a group of the largest units on a slow disk takes seconds.
    fn default() -> Self {
        Limits { slow: Duration::from_secs(10), hung: Duration::from_secs(120), look_every: Duration::from_millis(250) }
    }
}

/// Why the process has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A call has not come back.
    Hung {
        /// Which.
        call: Call,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A call has panicked.
    Panicked {
        /// Which.
        call: Call,
    },
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Hung { call, seconds } => write!(f, "the store has not come back from `{call}` for {seconds} s"),
            Ending::Panicked { call } => write!(f, "the store panicked in `{call}`"),
        }
    }
}

/// What ends the process. It may return only where no process is to end: in a test.
pub type End = Arc<dyn Fn(&Ending) + Send + Sync>;

macro_rules! calls {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        /// A call that is watched.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Call { $($(#[doc = $doc])* $name,)* }

        const CALLS: &[Call] = &[$(Call::$name,)*];

        impl fmt::Display for Call {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Call::$name => $text,)* })
            }
        }
    };
}

calls! {
    /// One row read.
    Get = "get";
    /// Rows read in order.
    Scan = "scan";
    /// All rows walked over.
    Walk = "walk";
    /// Sizes asked for.
    Measure = "measure";
    /// A block read from a segment file.
    ReadBlock = "read block";
    /// Segment files unlinked.
    Unlink = "unlink segments";
    /// The list of stops written.
    Stop = "record stops";
    /// The writer's group: whatever of it is none of those below.
    Group = "group";
    /// Blocks written into segment files.
    WriteBlocks = "write blocks";
    /// Segment files synced.
    SyncBlocks = "sync blocks";
    /// A unit applied.
    Apply = "apply";
    /// The engine's log flushed and synced.
    Sync = "sync";
}

/// What one thread is doing; zeros: nothing.
struct Slot {
    claimed: AtomicBool,
    store: AtomicU32,
    call: AtomicU8,
    /// The look at which the outermost call began, plus one.
    since: AtomicU64,
    /// How many outermost calls there were: tells two calls apart that began at the same look.
    number: AtomicU64,
}

static SLOTS: [Slot; SLOTS_MAX] = [const {
    Slot {
        claimed: AtomicBool::new(false),
        store: AtomicU32::new(0),
        call: AtomicU8::new(0),
        since: AtomicU64::new(0),
        number: AtomicU64::new(0),
    }
}; SLOTS_MAX];

static STORES: AtomicU32 = AtomicU32::new(1);

/// A thread's slot, given back when the thread ends.
struct Claim(Option<&'static Slot>);

impl Claim {
    fn new() -> Self {
        let free = |slot: &&Slot| slot.claimed.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        Claim(SLOTS.iter().find(free))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.since.store(0, Ordering::Release);
            slot.claimed.store(false, Ordering::Release);
        }
    }
}

thread_local! {
    static CLAIM: Claim = Claim::new();
    static UNWATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Lets this thread's calls take as long as they want: for a scrub, which has its own limit and reports a hang as what it
/// found. A panic still ends the process.
pub fn unwatched<T>(work: impl FnOnce() -> T) -> T {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            UNWATCHED.set(self.0);
        }
    }
    let _back = Back(UNWATCHED.replace(true));
    work()
}

/// The calls of one store.
pub(super) struct Watch {
    store: u32,
    limits: Limits,
    end: End,
    looks: AtomicU64,
    late: AtomicU32,
    ended: AtomicBool,
    closing: Mutex<bool>,
    closed: Condvar,
}

/// A call under way, until this is dropped.
pub(super) struct Under<'a> {
    watch: &'a Watch,
    call: Call,
    slot: Option<&'static Slot>,
    /// The call within which this one was made.
    outer: Option<u8>,
    was_panicking: bool,
}

impl Watch {
    pub fn new(limits: Limits, end: End) -> Self {
        Watch {
            store: STORES.fetch_add(1, Ordering::Relaxed),
            limits,
            end,
            looks: AtomicU64::new(0),
            late: AtomicU32::new(0),
            ended: AtomicBool::new(false),
            closing: Mutex::new(false),
            closed: Condvar::new(),
        }
    }

    /// Registers a call. After an ending there are no further calls, whatever the ending's action did.
    pub fn call(&self, call: Call) -> Result<Under<'_>, StoreError> {
        if self.ended.load(Ordering::Relaxed) {
            return Err(StoreError::Stopped);
        }
        let slot = if UNWATCHED.get() { None } else { CLAIM.try_with(|claim| claim.0).ok().flatten() };
        let mut under = Under { watch: self, call, slot, outer: None, was_panicking: thread::panicking() };
        if let Some(slot) = slot {
            let before = slot.call.swap(call as u8, Ordering::Relaxed);
            if slot.since.load(Ordering::Relaxed) == 0 {
                slot.store.store(self.store, Ordering::Relaxed);
                slot.number.fetch_add(1, Ordering::Relaxed);
                slot.since.store(self.looks.load(Ordering::Relaxed) + 1, Ordering::Release);
            } else {
                under.outer = Some(before);
            }
        }
        Ok(under)
    }

    /// Whether no call is late.
    pub fn answers(&self) -> bool {
        self.late.load(Ordering::Relaxed) == 0 && !self.ended.load(Ordering::Relaxed)
    }

    /// Looks at the slots until [`Watch::close`].
    pub fn monitor(&self) {
        let mut reported = HashMap::new();
        loop {
            let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.closed.wait_timeout_while(closing, self.limits.look_every, |closing| !*closing);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.look(&mut reported);
        }
    }

    pub fn close(&self) {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closed.notify_all();
    }

    /// One look. `reported` holds the late calls that were told of, by slot.
    fn look(&self, reported: &mut HashMap<usize, (u64, Call)>) {
        let now = self.looks.load(Ordering::Relaxed);
        let mut late = 0;
        for (index, slot) in SLOTS.iter().enumerate() {
            let number = slot.number.load(Ordering::Relaxed);
            let since = slot.since.load(Ordering::Acquire);
            let mine = since > 0 && slot.store.load(Ordering::Relaxed) == self.store;
            if let Some((_, call)) = reported.get(&index).filter(|(told, _)| !mine || *told != number) {
                tracing::info!(store.call = %call, "a late call of the store has come back");
                reported.remove(&index);
            }
            let looks = u32::try_from((now + 1).saturating_sub(since)).unwrap_or(u32::MAX);
            let lasted = self.limits.look_every.saturating_mul(looks);
            let Some(call) = CALLS.get(usize::from(slot.call.load(Ordering::Relaxed))).filter(|_| mine) else { continue };
            if lasted >= self.limits.slow {
                late += 1;
                reported.entry(index).or_insert_with(|| {
                    let seconds = lasted.as_secs();
                    tracing::warn!(store.call = %call, seconds, "a call of the store is late; not ready until it comes back");
                    (number, *call)
                });
            }
            if lasted >= self.limits.hung {
                self.end(Ending::Hung { call: *call, seconds: lasted.as_secs() });
            }
        }
        self.late.store(late, Ordering::Relaxed);
    }

    /// Once: what follows from the first ending is no news.
    fn end(&self, ending: Ending) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            (self.end)(&ending);
        }
    }
}

impl Under<'_> {
    /// Says that a long walk is moving: its time counts from now.
    pub fn moves(&self) {
        if let Some(slot) = self.slot {
            slot.since.store(self.watch.looks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            match self.outer {
                Some(outer) => slot.call.store(outer, Ordering::Relaxed),
                None => slot.since.store(0, Ordering::Release),
            }
        }
        if thread::panicking() && !self.was_panicking {
            self.watch.end(Ending::Panicked { call: self.call });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> (Arc<Watch>, Arc<Mutex<Vec<Ending>>>, thread::JoinHandle<()>) {
        let endings: Arc<Mutex<Vec<Ending>>> = Arc::default();
        let noted = endings.clone();
        let ms = Duration::from_millis;
        let limits = Limits { slow: ms(100), hung: ms(400), look_every: ms(10) };
        let watch = Arc::new(Watch::new(limits, Arc::new(move |ending| noted.lock().unwrap().push(*ending))));
        let monitor = thread::spawn({
            let watch = watch.clone();
            move || watch.monitor()
        });
        (watch, endings, monitor)
    }

    fn until(what: impl Fn() -> bool) {
        for _ in 0..2000 {
            if what() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not come to that");
    }

    /// Goal: a stalled call is seen, then ends the process, once and by its innermost name; a call that moves, an exempt one
    /// and one that came back do not. Method: a call that is held, with limits of a test.
    #[test]
    fn a_stalled_call_ends_the_process() {
        let (watch, endings, monitor) = watched();
        let moving = watch.call(Call::Walk).unwrap();
        for _ in 0..30 {
            thread::sleep(Duration::from_millis(20));
            moving.moves();
        }
        drop(moving);
        unwatched(|| {
            let _long = watch.call(Call::Scan).unwrap();
            thread::sleep(Duration::from_millis(600));
        });
        let late = watch.call(Call::Get).unwrap();
        until(|| !watch.answers());
        drop(late);
        until(|| watch.answers());
        assert!(endings.lock().unwrap().is_empty(), "{:?}", endings.lock().unwrap());

        let group = watch.call(Call::Group).unwrap();
        let stalled = watch.call(Call::Sync).unwrap();
        until(|| !endings.lock().unwrap().is_empty());
        assert!(matches!(endings.lock().unwrap()[..], [Ending::Hung { call: Call::Sync, .. }]), "{:?}", endings.lock().unwrap());
        assert!(matches!(watch.call(Call::Get), Err(StoreError::Stopped)));
        drop((stalled, group));
        watch.close();
        monitor.join().unwrap();
        assert_eq!(endings.lock().unwrap().len(), 1);
    }

    /// Goal: a panic within a call ends the process and nothing is called after it; one that was under way before the call
    /// (a destructor that uses the store) does not count.
    #[test]
    fn a_panic_in_a_call_ends_the_process() {
        let (watch, endings, monitor) = watched();
        let inner = watch.clone();
        let panicked = thread::spawn(move || {
            struct Last(Arc<Watch>);
            impl Drop for Last {
                fn drop(&mut self) {
                    drop(self.0.call(Call::Get));
                }
            }
            let _last = Last(inner);
            panic!("outside of any call");
        });
        assert!(panicked.join().is_err());
        assert!(endings.lock().unwrap().is_empty());
        let inner = watch.clone();
        let panicked = thread::spawn(move || {
            let _call = inner.call(Call::Apply);
            panic!("inside the engine");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*endings.lock().unwrap(), [Ending::Panicked { call: Call::Apply }]);
        assert!(watch.call(Call::Get).is_err() && !watch.answers());
        watch.close();
        monitor.join().unwrap();
    }

    /// Goal: threads that come and go leave no slot taken.
    #[test]
    fn slots_are_given_back() {
        let (watch, _, monitor) = watched();
        for _ in 0..3 * SLOTS_MAX {
            let watch = watch.clone();
            thread::spawn(move || assert!(watch.call(Call::Get).unwrap().slot.is_some())).join().unwrap();
        }
        watch.close();
        monitor.join().unwrap();
    }
}
