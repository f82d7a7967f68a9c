//! Scopes: what a key permits.

use std::fmt;
use std::str::FromStr;

use crate::action::ActionTypeName;

/// One kind of thing that a key may permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Read every user.
    UsersRead,
    /// Register and change users.
    UsersWrite,
    /// Change what a user signs in with, and export everything kept of them.
    UsersCredentials,
    /// Act for other users.
    UsersActAs,
    /// Read the subject's keys.
    KeysRead,
    /// Issue and revoke keys of the subject.
    KeysWrite,
    /// Read the subject's actions.
    ActionsRead,
    /// Submit and cancel actions of the subject.
    ActionsWrite,
    /// Lease and perform actions of every user.
    ActionsWork,
    /// Define action types.
    TypesWrite,
    /// Read audit events.
    AuditRead,
}

impl Permission {
    /// Every permission, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::UsersRead,
        Self::UsersWrite,
        Self::UsersCredentials,
        Self::UsersActAs,
        Self::KeysRead,
        Self::KeysWrite,
        Self::ActionsRead,
        Self::ActionsWrite,
        Self::ActionsWork,
        Self::TypesWrite,
        Self::AuditRead,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::UsersCredentials => "users:credentials",
            Self::UsersActAs => "users:act_as",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::ActionsRead => "actions:read",
            Self::ActionsWrite => "actions:write",
            Self::ActionsWork => "actions:work",
            Self::TypesWrite => "types:write",
            Self::AuditRead => "audit:read",
        }
    }

    /// Whether a scope of it may be narrowed to some action types.
    #[must_use]
    pub const fn is_narrowable(self) -> bool {
        matches!(
            self,
            Self::ActionsRead | Self::ActionsWrite | Self::ActionsWork
        )
    }

    /// Whether it reaches every user's objects; the others reach the subject's alone.
    #[must_use]
    pub const fn reaches_everybody(self) -> bool {
        match self {
            Self::UsersRead
            | Self::UsersWrite
            | Self::UsersCredentials
            | Self::UsersActAs
            | Self::ActionsWork
            | Self::TypesWrite
            | Self::AuditRead => true,
            Self::KeysRead | Self::KeysWrite | Self::ActionsRead | Self::ActionsWrite => false,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The action types that a scope is narrowed to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TypePattern {
    /// Every type.
    All,
    /// The types whose name begins with this text, which ends in a dot: `report.*`.
    Below(String),
    /// The type of this name.
    Exactly(ActionTypeName),
}

impl TypePattern {
    /// Whether the type of that name is among them.
    #[must_use]
    pub fn matches(&self, name: &ActionTypeName) -> bool {
        match self {
            Self::All => true,
            Self::Below(prefix) => name.as_str().starts_with(prefix.as_str()),
            Self::Exactly(exact) => exact == name,
        }
    }

    /// Whether every type that `other` names is named by this too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) | (Self::Exactly(_), Self::Below(_)) => false,
            (Self::Below(mine), Self::Below(theirs)) => theirs.starts_with(mine.as_str()),
            (_, Self::Exactly(name)) => self.matches(name),
        }
    }

    fn parse(text: &str) -> Result<Self, UnknownScope> {
        if let Some(prefix) = text.strip_suffix('*') {
            let name = prefix.strip_suffix('.').ok_or(UnknownScope)?;
            ActionTypeName::parse(name).map_err(|_| UnknownScope)?;
            return Ok(Self::Below(prefix.to_owned()));
        }
        ActionTypeName::parse(text)
            .map(Self::Exactly)
            .map_err(|_| UnknownScope)
    }
}

/// One permission, such as `actions:write`, the actions' optionally narrowed to types: `actions:work:report.*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    permission: Permission,
    types: TypePattern,
}

/// A text that names no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a known scope")]
pub struct UnknownScope;

impl Scope {
    /// The scope that gives all of `permission`.
    #[must_use]
    pub const fn all(permission: Permission) -> Self {
        Self {
            permission,
            types: TypePattern::All,
        }
    }

    /// What it permits.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        self.permission
    }

    /// For which action types.
    #[must_use]
    pub const fn types(&self) -> &TypePattern {
        &self.types
    }

    /// Whether it permits everything that `other` permits.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.permission == other.permission && self.types.covers(&other.types)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.types {
            TypePattern::All => write!(f, "{}", self.permission),
            TypePattern::Below(prefix) => write!(f, "{}:{prefix}*", self.permission),
            TypePattern::Exactly(name) => write!(f, "{}:{name}", self.permission),
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        for permission in Permission::ALL {
            let Some(rest) = text.strip_prefix(permission.as_str()) else {
                continue;
            };
            if rest.is_empty() {
                return Ok(Self::all(permission));
            }
            if let Some(pattern) = rest.strip_prefix(':') {
                if !permission.is_narrowable() {
                    return Err(UnknownScope);
                }
                let types = TypePattern::parse(pattern)?;
                return Ok(Self { permission, types });
            }
        }
        Err(UnknownScope)
    }
}

/// The scopes of a key: at least one, sorted, none twice. There is no empty set, so nothing empty can mean "all".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScopeSet(Vec<Scope>);

/// A set of scopes without any scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must name at least one scope")]
pub struct NoScopes;

impl ScopeSet {
    /// The most scopes that a key may have.
    pub const MAX: usize = 100;

    /// Every permission, as the root key has.
    #[must_use]
    pub fn everything() -> Self {
        let mut scopes: Vec<Scope> = Permission::ALL.into_iter().map(Scope::all).collect();
        scopes.sort();
        Self(scopes)
    }

    /// A set of these scopes; one that is named twice counts once.
    ///
    /// # Errors
    /// [`NoScopes`] when there is none.
    pub fn of(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, NoScopes> {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(NoScopes);
        }
        Ok(Self(scopes))
    }

    /// The scopes, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether some scope gives `permission`, be it for some action types only.
    #[must_use]
    pub fn gives(&self, permission: Permission) -> bool {
        self.0.iter().any(|scope| scope.permission == permission)
    }

    /// The action types for which `permission` is given.
    #[must_use]
    pub fn types_for(&self, permission: Permission) -> TypeReach {
        let patterns: Vec<TypePattern> = self
            .0
            .iter()
            .filter(|scope| scope.permission == permission)
            .map(|scope| scope.types.clone())
            .collect();
        if patterns.contains(&TypePattern::All) {
            TypeReach::All
        } else {
            TypeReach::Some(patterns)
        }
    }

    /// The first scope of `wanted` that this set does not cover.
    #[must_use]
    pub fn first_missing<'a>(&self, wanted: &'a Self) -> Option<&'a Scope> {
        wanted
            .0
            .iter()
            .find(|scope| !self.0.iter().any(|mine| mine.covers(scope)))
    }
}

/// The action types that a caller reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeReach {
    /// Every type.
    All,
    /// Those that one of the patterns names; none where there is no pattern.
    Some(Vec<TypePattern>),
}

impl TypeReach {
    /// Whether the type of that name is within reach.
    #[must_use]
    pub fn includes(&self, name: &ActionTypeName) -> bool {
        match self {
            Self::All => true,
            Self::Some(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
        }
    }

    /// The patterns as texts for an adapter: a name, or a prefix followed by `*`; `None` for every type.
    #[must_use]
    pub fn patterns(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Some(patterns) => Some(
                patterns
                    .iter()
                    .map(|pattern| match pattern {
                        TypePattern::All => "*".to_owned(),
                        TypePattern::Below(prefix) => format!("{prefix}*"),
                        TypePattern::Exactly(name) => name.to_string(),
                    })
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(texts: &[&str]) -> ScopeSet {
        ScopeSet::of(texts.iter().map(|text| text.parse().unwrap())).unwrap()
    }

    #[test]
    fn every_permission_is_a_scope_of_its_name() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(Scope::all(permission)));
        }
    }

    #[test]
    fn only_the_actions_scopes_can_be_narrowed() {
        assert!("actions:work:report.*".parse::<Scope>().is_ok());
        assert!("actions:read:report.render".parse::<Scope>().is_ok());
        for bad in [
            "",
            "actions",
            "actions:",
            "actions:write:",
            "users:read:echo",
            "actions:work:*",
            "actions:work:.*",
            "actions:work:re*",
            "actions:work:Report",
            "Actions:work",
            "actions:work ",
            "actions:workers",
            "root",
            "*",
        ] {
            assert_eq!(bad.parse::<Scope>(), Err(UnknownScope), "{bad}");
        }
    }

    #[test]
    fn a_pattern_names_what_lies_below_it() {
        let pattern = TypePattern::Below("report.".to_owned());
        let name = |text: &str| ActionTypeName::parse(text).unwrap();
        assert!(pattern.matches(&name("report.render")));
        assert!(!pattern.matches(&name("report")));
        assert!(!pattern.matches(&name("reports.render")));
    }

    #[test]
    fn a_set_is_never_empty() {
        assert_eq!(ScopeSet::of([]), Err(NoScopes));
        assert_eq!(set(&["users:read", "users:read"]).iter().count(), 1);
    }

    #[track_caller]
    fn check_missing(mine: &[&str], wanted: &[&str], missing: Option<&str>) {
        let wanted = set(wanted);
        let found = set(mine).first_missing(&wanted).map(ToString::to_string);
        assert_eq!(found.as_deref(), missing);
    }

    #[test]
    fn a_subset_asks_for_nothing_more() {
        check_missing(&["actions:read", "actions:write"], &["actions:write"], None);
        check_missing(
            &["actions:read"],
            &["actions:read", "actions:write"],
            Some("actions:write"),
        );
        check_missing(&["actions:work"], &["actions:work:report.*"], None);
        check_missing(
            &["actions:work:report.*"],
            &["actions:work"],
            Some("actions:work"),
        );
        check_missing(
            &["actions:work:report.*"],
            &["actions:work:report.pdf.*"],
            None,
        );
        check_missing(
            &["actions:work:report.*"],
            &["actions:work:report.render"],
            None,
        );
        check_missing(
            &["actions:work:report.render"],
            &["actions:work:report.*"],
            Some("actions:work:report.*"),
        );
        check_missing(
            &["actions:work:a.*"],
            &["actions:work:ab"],
            Some("actions:work:ab"),
        );
    }

    #[test]
    fn the_root_set_covers_every_scope() {
        assert_eq!(
            ScopeSet::everything().first_missing(&ScopeSet::everything()),
            None
        );
        assert_eq!(
            ScopeSet::everything().types_for(Permission::ActionsWork),
            TypeReach::All
        );
    }

    #[test]
    fn reach_is_the_union_of_the_patterns() {
        let reach = set(&["actions:read:a.*", "actions:read:b", "actions:write"])
            .types_for(Permission::ActionsRead);
        assert_eq!(
            reach.patterns(),
            Some(vec!["a.*".to_owned(), "b".to_owned()])
        );
        let name = |text: &str| ActionTypeName::parse(text).unwrap();
        assert!(
            reach.includes(&name("a.x"))
                && reach.includes(&name("b"))
                && !reach.includes(&name("c"))
        );
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(at in 0usize..11, name in "[a-z][a-z0-9_.]{0,10}[a-z]", below: bool, narrow: bool) {
            let permission = Permission::ALL[at];
            let mut text = permission.to_string();
            if narrow && permission.is_narrowable() {
                text = format!("{text}:{name}{}", if below { ".*" } else { "" });
            }
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string(), text);
            }
        }
    }
}
