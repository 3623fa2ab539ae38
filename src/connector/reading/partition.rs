//! The parts that a stream is cut into by its partition routers.
//!
//! Source: the partition routers of airbyte-cdk (LOWCODE.md section 4.9). Several routers multiply.

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::partition::ListPartitionRouter;
use crate::connector::component::partition::PartitionRouter;
use crate::connector::component::partition::PartitionValues;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::reading::Injection;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Target;

/// The most partitions of one reading.
pub const PARTITIONS_MAX: usize = 100_000;

/// One part of a stream.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// The keys that expressions see.
    pub keys: Map<String, Value>,
    /// What goes into every request of the part.
    pub injections: Vec<Injection>,
}

impl Partition {
    /// Every part that `routers` make; one without keys when there is no router. `scope` has `config`.
    ///
    /// # Errors
    /// When an expression fails, or there are more than `PARTITIONS_MAX`.
    pub fn all(routers: &[PartitionRouter], scope: &Scope) -> Result<Vec<Self>, ReadingError> {
        let mut scope = scope.clone();
        scope.set_slice(&Slice::default());
        let mut partitions = vec![Partition::default()];
        for router in routers {
            let values = match router {
                PartitionRouter::ListPartitionRouter(router) => list(router, &scope)?,
            };
            if partitions.len().saturating_mul(values.len()) > PARTITIONS_MAX {
                let found = format!("{} times {} values", partitions.len(), values.len());
                return Err(ReadingError::Value { field: "partition_router", found, needs: "at most 100000 partitions" });
            }
            let joined = |partition: &Partition| values.iter().map(|value| partition.joined(value)).collect::<Vec<_>>();
            partitions = partitions.iter().flat_map(joined).collect();
        }
        Ok(partitions)
    }

    /// The slice that expressions see when the part has no window of time.
    pub fn slice(&self) -> Slice {
        Slice { partition: self.keys.clone(), ..Slice::default() }
    }

    /// The part as it is recorded; nothing when the stream is not cut.
    pub fn recorded(&self) -> Option<Value> {
        (!self.keys.is_empty()).then(|| Value::Object(self.keys.clone()))
    }

    fn joined(&self, other: &Partition) -> Self {
        let mut joined = self.clone();
        joined.keys.extend(other.keys.clone());
        joined.injections.extend(other.injections.iter().cloned());
        joined
    }
}

/// One part for every value; an empty value is not put into requests.
fn list(router: &ListPartitionRouter, scope: &Scope) -> Result<Vec<Partition>, ReadingError> {
    let values = match &router.values {
        PartitionValues::List(values) => {
            let values = values.iter().map(|value| value.value(scope));
            values.collect::<Result<Vec<_>, _>>().map_err(ReadingError::expression("values"))?
        }
        PartitionValues::Expression(expression) => match expression.value(scope).map_err(ReadingError::expression("values"))? {
            Value::Array(values) => values,
            other => return Err(ReadingError::Value { field: "values", found: crate::ids::cut(&other.to_string()), needs: "a list" }),
        },
    };
    let key = router.cursor_field.text(scope).map_err(ReadingError::expression("cursor_field"))?;
    let target = router.request_option.as_ref().map(|option| Target::of(option, scope)).transpose()?;
    let partition = |value: Value| {
        let is_empty = value.is_null() || value.as_str() == Some("");
        let injections =
            target.iter().filter(|_| !is_empty).map(|target| Injection { target: target.clone(), value: value.clone() }).collect();
        Partition { keys: Map::from_iter([(key.clone(), value)]), injections }
    };
    Ok(values.into_iter().map(partition).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn check(routers: &[&str]) -> Result<Vec<Value>, ReadingError> {
        let routers: Vec<PartitionRouter> = routers.iter().map(|yaml| component(yaml, "SimpleRetriever", "partition_router")).collect();
        let partitions = Partition::all(&routers, &scope(&json!({"ids": [1, 2], "none": []})))?;
        Ok(partitions.iter().map(|partition| partition.recorded().unwrap_or_default()).collect())
    }

    /// Lists are written or evaluated, routers multiply, and no router leaves the stream whole.
    #[test]
    fn routers_multiply() {
        let ids = "{type: ListPartitionRouter, cursor_field: id, values: \"{{ config['ids'] }}\"}";
        let kinds = "{type: ListPartitionRouter, cursor_field: kind, values: [a, b]}";
        assert_eq!(check(&[]).unwrap(), [Value::Null]);
        assert_eq!(check(&[ids]).unwrap(), [json!({"id": 1}), json!({"id": 2})]);
        assert_eq!(check(&[ids, kinds]).unwrap()[1], json!({"id": 1, "kind": "b"}));
        assert_eq!(
            check(&["{type: ListPartitionRouter, cursor_field: id, values: \"{{ config['none'] }}\"}"]).unwrap(),
            Vec::<Value>::new()
        );
        assert!(check(&["{type: ListPartitionRouter, cursor_field: id, values: \"{{ config['wrong'] }}\"}"]).is_err());
    }
}
