//! What a caller may see: connections within its scope, and nothing else exists for it.

use crate::api::paging::List;
use crate::api::problem::Problem;
use crate::api::services::Scope;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::connection::State;
use crate::ids::ConnectionId;
use crate::ids::RecordId;

/// Rows that one request looks at before it hands the caller on to the next page: a filter that hardly anything passes
/// must not turn one request into a walk over the whole store.
const ROWS_MAX: usize = 10_000;

/// A connection within the scope.
pub fn connection(connections: &Connections, scope: Scope<'_>, id: ConnectionId) -> Result<Connection, Problem> {
    let found = connections.find(id)?;
    if sees(scope, &found) { Ok(found) } else { Err(Problem::not_found("connection", &id.to_string())) }
}

/// The connection of a record within the scope, unless it is erased.
pub fn of_record(connections: &Connections, scope: Scope<'_>, id: RecordId) -> Result<Connection, Problem> {
    let found = connections.by_key(id.owner)?.filter(|connection| sees(scope, connection));
    found.filter(|connection| !matches!(connection.state, State::Erased(_))).ok_or_else(|| Problem::not_found("record", &id.to_string()))
}

/// Whether a connection lies within the scope.
pub fn sees(scope: Scope<'_>, connection: &Connection) -> bool {
    scope.is_none_or(|tenant| *tenant == connection.tenant)
}

/// One page of a list: `step` reads rows behind a place, `keep` leaves out what the caller did not ask for or may not see.
pub fn page<R, T, P: Copy + serde::Serialize>(
    limit: usize,
    after: Option<P>,
    step: impl Fn(Option<P>, usize) -> Result<Vec<R>, Problem>,
    place: impl Fn(&R) -> P,
    mut keep: impl FnMut(R) -> Result<Option<T>, Problem>,
) -> Result<List<T>, Problem> {
    let (mut items, mut last, mut looked_at) = (Vec::new(), after, 0);
    loop {
        let rows = step(last, limit + 1)?;
        let is_end = rows.len() <= limit;
        for row in rows {
            let at = place(&row);
            if let Some(item) = keep(row)? {
                if items.len() == limit {
                    return list(items, last);
                }
                items.push(item);
            }
            last = Some(at);
            looked_at += 1;
        }
        if is_end {
            return list::<T, P>(items, None);
        }
        if looked_at >= ROWS_MAX {
            return list(items, last);
        }
    }
}

/// A page that ends at a place.
pub fn list<T, P: serde::Serialize>(items: Vec<T>, end: Option<P>) -> Result<List<T>, Problem> {
    let end = end.map(|place| postcard::to_stdvec(&place).map_err(Problem::internal)).transpose()?;
    Ok(List::new(items, end.as_deref()))
}

/// Does what reads many rows or files where it holds nobody up.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::paging::untoken;
    use crate::gateway::services::problems::place;

    proptest! {
        /// Page by page a caller gets every row that passes the filter, once, in order, and no page but the last is short.
        #[test]
        fn pages_are_whole(kept in prop::collection::vec(any::<bool>(), 0..60), limit in 1_usize..10) {
            let rows = |after: Option<u64>, limit: usize| {
                let from = after.map_or(0, |last| last + 1);
                Ok((from..kept.len() as u64).take(limit).collect::<Vec<_>>())
            };
            let (mut got, mut after) = (Vec::new(), None);
            loop {
                let answer = page(limit, after, rows, |row| *row, |row| Ok(kept[row as usize].then_some(row))).unwrap();
                let next = answer.next.as_deref().map(untoken).transpose().unwrap();
                prop_assert!(answer.items.len() == limit || next.is_none());
                got.extend(answer.items);
                after = place(next.as_deref()).unwrap();
                if after.is_none() { break }
            }
            prop_assert_eq!(got, (0..kept.len() as u64).filter(|row| kept[*row as usize]).collect::<Vec<_>>());
        }
    }
}
