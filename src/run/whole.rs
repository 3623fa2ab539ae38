//! Whether each run of a stream asks for everything that there is: then what it does not meet is there no more.

use crate::connector::component::source::DeclarativeStream;
use crate::connector::definition::Connector;

/// Functions of expressions that tell the time: a request that holds one may ask for a window that moves.
const CLOCKS: [&str; 5] = ["now_utc", "now_local", "today_utc", "today_with_timezone", "day_delta"];

/// Whether every run of a stream asks for everything. Not so with a cursor, whose records begin somewhere; nor where the parts are made of
/// a parent's records, for a parent that was not met, or was ignored, hides its children; nor where a request may depend on the time.
///
/// It errs on one side: where it says no, deletions are not told.
pub(super) fn asks_for_everything(connector: &Connector, stream: &str) -> bool {
    match (connector.manifest.named(stream), connector.manifest.stream(stream)) {
        (Some(named), _) => named.ways().into_iter().all(asks),
        (None, Some(stream)) => asks(stream),
        (None, None) => false,
    }
}

fn asks(stream: &DeclarativeStream) -> bool {
    let mut has_parents = false;
    stream.retriever.partition_routers().iter().for_each(|router| router.parents(&mut |_| has_parents = true));
    let written = format!("{:?}", stream.retriever);
    stream.incremental_sync.is_none() && !has_parents && !CLOCKS.iter().any(|clock| written.contains(clock))
}
