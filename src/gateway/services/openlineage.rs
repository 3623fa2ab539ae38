//! What the graph of a tenant's own jobs refuses, as problems.

use crate::api::problem::Problem;
use crate::openlineage::OpenLineageError;

impl From<OpenLineageError> for Problem {
    fn from(error: OpenLineageError) -> Self {
        match error {
            OpenLineageError::Unknown { noun, name } => Problem::not_found(noun, &name),
            OpenLineageError::Malformed { .. } => Problem::Malformed { reason: error.to_string() },
            OpenLineageError::Damaged { .. } => Problem::internal(error),
            OpenLineageError::Tenant(error) => error.into(),
            OpenLineageError::Store(error) => error.into(),
            OpenLineageError::Vault(error) => error.into(),
        }
    }
}
