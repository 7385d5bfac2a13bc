use std::collections::{BTreeMap, BTreeSet};

/// Who asks. What a principal sees is decided where its session is made, and nowhere behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    name: String,
    rights: Rights,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rights {
    /// Whoever has the lake's files: sees everything, whatever the policies say.
    Operator,
    Roles {
        roles: BTreeSet<String>,
        attributes: BTreeMap<String, String>,
    },
}

impl Principal {
    /// Somebody who has the lake's files, or may act as if.
    pub fn operator(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            rights: Rights::Operator,
        }
    }

    /// Somebody who sees what the policies grant to these roles, for these attributes. Without a role that is nothing.
    pub fn new(
        name: impl Into<String>,
        roles: impl IntoIterator<Item = String>,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        Self {
            name: name.into(),
            rights: Rights::Roles {
                roles: roles.into_iter().collect(),
                attributes,
            },
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_operator(&self) -> bool {
        matches!(self.rights, Rights::Operator)
    }

    /// The roles, in order; an operator has none.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        let roles = match &self.rights {
            Rights::Operator => None,
            Rights::Roles { roles, .. } => Some(roles),
        };
        roles.into_iter().flatten().map(String::as_str)
    }

    /// What is known about the principal, such as its `bu`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        match &self.rights {
            Rights::Operator => None,
            Rights::Roles { attributes, .. } => attributes.get(name).map(String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_needs_no_role_and_others_have_no_more_than_theirs() {
        let operator = Principal::operator("anonymous");
        assert!(operator.is_operator());
        assert_eq!(operator.roles().count(), 0);
        let attributes = BTreeMap::from([("bu".to_owned(), "Marketing".to_owned())]);
        let anne = Principal::new("anne", ["manager".to_owned()], attributes);
        assert!(!anne.is_operator());
        assert_eq!(anne.roles().collect::<Vec<_>>(), ["manager"]);
        assert_eq!(anne.attribute("bu"), Some("Marketing"));
        assert_eq!(anne.attribute("employee_id"), None);
    }
}
