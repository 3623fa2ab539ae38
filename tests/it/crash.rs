//! SIGKILL at random moments: of connecting, pulling, renewing tokens, revoking, erasing a connection or a tenant, rotating the
//! keyring, compacting the store. What an answer has said before must hold after the next start (P5), a page is there wholly or
//! not at all (P1), a revoked connection stays revoked (P2), an erasure goes on to its end and nothing of it opens (P4), and one
//! master key opens the directory.
//!
//! A kill ends a process and not the machine: what was written and not synced stays. So the directories lie in memory where
//! there is such a file system, and the syncs of some hundred starts cost nothing. A loss of power is judged elsewhere.
//!
//! `HEADGATE_CRASH_CYCLES` sets how many kills there are, `HEADGATE_CRASH_SEED` repeats a run's choices.

mod act;
mod check;
mod world;

use self::world::World;

use crate::support::dice::number;
use crate::support::dice::seed;

/// Kills in an ordinary test run.
const CYCLES_DEFAULT: u64 = 200;
/// Directories that live and die side by side, each with its share of the kills.
const WORLDS: u64 = 2;

/// Goal: no kill loses or tears what was acknowledged. Method: act, kill, start again, compare with what was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_kill() {
    let seed = seed("HEADGATE_CRASH_SEED");
    let cycles = number("HEADGATE_CRASH_CYCLES").unwrap_or(CYCLES_DEFAULT);
    let share = move |world| cycles / WORLDS + u64::from(world < cycles % WORLDS);
    let worlds = (0..WORLDS)
        .map(|world| tokio::spawn(async move { World::begin(world, seed.wrapping_add(world)).await.live_and_die(share(world)).await }));
    for world in worlds.collect::<Vec<_>>() {
        world.await.unwrap();
    }
}
