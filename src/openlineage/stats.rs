//! Counts over time: of a day by the hour, of a week by the day.

use serde_json::Value;
use serde_json::json;

use crate::clock::Timestamp;
use crate::openlineage::question::Counted;
use crate::openlineage::rows::Hour;

const HOURS_OF_A_DAY: u32 = 24;
const DAYS_OF_A_WEEK: u32 = 7;

/// The last 24 hours, or the last 7 days in UTC, the present one included.
pub(super) fn answer(hours: &[Hour], counted: Counted, weekly: bool, now: Timestamp) -> Value {
    let present = u32::try_from(now.as_second().div_euclid(3600)).unwrap_or_default();
    let (width, count) = if weekly { (HOURS_OF_A_DAY, DAYS_OF_A_WEEK) } else { (1, HOURS_OF_A_DAY) };
    let last = present / width;
    let time = |hour: u32| Timestamp::from_second(i64::from(hour) * 3600).unwrap_or(now);
    let intervals = (last.saturating_sub(count - 1)..=last).map(|interval| {
        let (from, to) = (interval * width, (interval + 1) * width);
        let mut shown = json!({ "startInterval": time(from), "endInterval": time(to) });
        let within = || hours.iter().filter(|hour| (from..to).contains(&hour.hour));
        match counted {
            Counted::Events => {
                for (index, word) in ["start", "complete", "fail", "abort"].into_iter().enumerate() {
                    shown[word] = json!(within().map(|hour| hour.events[index]).sum::<u32>());
                }
            }
            Counted::Jobs => shown["count"] = json!(standing(hours, to, 0)),
            Counted::Datasets => shown["count"] = json!(standing(hours, to, 1)),
            Counted::Sources => shown["count"] = json!(standing(hours, to, 2)),
        }
        shown
    });
    Value::Array(intervals.collect())
}

/// How many there were when an hour began.
fn standing(hours: &[Hour], before: u32, index: usize) -> u32 {
    hours.iter().take_while(|hour| hour.hour < before).last().map_or(0, |hour| hour.listed[index])
}
