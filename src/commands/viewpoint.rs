use std::path::Path;

use clap::Args;
use engine::{Error, Principal, policies};

use super::user::{attribute, unknown_role};

/// Through whose eyes a command reads: the operator's, or those of whoever has a role.
#[derive(Debug, Args)]
pub(crate) struct Viewpoint {
    /// See what a role of policies.sql sees
    #[arg(long = "as", value_name = "ROLE")]
    roles: Vec<String>,

    /// What row policies know about whoever has the role, as bu=Marketing
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute, requires = "roles")]
    attributes: Vec<(String, String)>,
}

impl Viewpoint {
    /// # Errors
    /// `NotFound` for a role that the project's policies do not create.
    pub(crate) fn principal(self, command: &str, project: &Path) -> Result<Principal, Error> {
        if self.roles.is_empty() {
            return Ok(Principal::operator(command));
        }
        let known = policies::roles(project);
        if let Some(role) = self.roles.iter().find(|role| !known.contains(role)) {
            return Err(unknown_role(role, &known));
        }
        let attributes = self.attributes.into_iter().collect();
        Ok(Principal::new(command, self.roles, attributes))
    }
}
