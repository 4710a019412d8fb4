//! Users, tokens, tenants and the audit log for people.

use quarry_api_types::{AuditEntry, AuditVerification, Name, PoolShareUse, Session, Tenant, Token, User};

use super::{Bytes, number, optional, properties, size, table, text};

pub fn users(users: &[User]) -> String {
    let row = |user: &User| {
        vec![text(&user.name), text(user.role), optional(user.tenant.as_ref()), text(user.created)]
    };
    table(&["NAME", "ROLE", "TENANT", "CREATED"], users.iter().map(row))
}

pub fn user(user: &User) -> String {
    properties(vec![
        ("Name", text(&user.name)),
        ("Role", text(user.role)),
        ("Tenant", optional(user.tenant.as_ref())),
        ("Created", text(user.created)),
    ])
}

pub fn session(session: &Session) -> String {
    properties(vec![
        ("User", text(&session.user)),
        ("Role", text(session.role)),
        ("Tenant", optional(session.tenant.as_ref())),
        ("Token", text(&session.token)),
        ("Expires", text(session.expires.map_or_else(|| "never".to_owned(), |end| end.to_string()))),
    ])
}

pub fn logged_in(token: &Token, path: &str) -> String {
    let until = token.expires.map_or_else(|| "for ever".to_owned(), |end| format!("until {end}"));
    text_of(format!("Logged in as {} ({}) {until}; the token is in {path}.", token.user, token.role))
}

fn text_of(line: String) -> String {
    crate::output::printable(&line)
}

pub fn tokens(tokens: &[Token]) -> String {
    let row = |token: &Token| {
        vec![
            text(&token.id),
            text(&token.user),
            text(token.role),
            optional(token.tenant.as_ref()),
            text(token.created),
            text(token.expires.map_or_else(|| "never".to_owned(), |end| end.to_string())),
            text(&token.purpose),
        ]
    };
    table(&["ID", "USER", "ROLE", "TENANT", "CREATED", "EXPIRES", "PURPOSE"], tokens.iter().map(row))
}

pub fn tenants(tenants: &[Tenant]) -> String {
    let row = |tenant: &Tenant| {
        vec![
            text(&tenant.name),
            number(tenant.used_volumes),
            number(bound(tenant.volumes)),
            size(tenant.used_bytes),
            number(bound(tenant.capacity_bytes.map(Bytes))),
            text(pools(tenant)),
        ]
    };
    table(&["NAME", ">VOLUMES", ">MAX", ">SIZE", ">MAX", "POOLS"], tenants.iter().map(row))
}

pub fn tenant(tenant: &Tenant) -> String {
    properties(vec![
        ("Name", text(&tenant.name)),
        ("Pools", text(names(&tenant.pools))),
        ("Shares", text(shares(&tenant.shares))),
        ("Policies", text(names(&tenant.policies))),
        (
            "Capacity",
            text(format!("{} of {}", Bytes(tenant.used_bytes), bound(tenant.capacity_bytes.map(Bytes)))),
        ),
        ("Volumes", text(format!("{} of {}", tenant.used_volumes, bound(tenant.volumes)))),
        ("QoS", optional(tenant.qos.as_ref())),
        ("Created", text(tenant.created)),
    ])
}

/// Its pools, with the bounds of those that have one.
fn pools(tenant: &Tenant) -> String {
    let pool = |pool: &Name| match tenant.shares.iter().find(|share| share.pool == *pool) {
        Some(share) => format!("{pool} ({})", Bytes(share.capacity_bytes)),
        None => pool.to_string(),
    };
    match &tenant.pools[..] {
        [] => "-".to_owned(),
        pools => pools.iter().map(pool).collect::<Vec<_>>().join(", "),
    }
}

fn shares(shares: &[PoolShareUse]) -> String {
    let share = |share: &PoolShareUse| {
        format!("{} of {} in {}", Bytes(share.used_bytes), Bytes(share.capacity_bytes), share.pool)
    };
    match shares {
        [] => "-".to_owned(),
        shares => shares.iter().map(share).collect::<Vec<_>>().join(", "),
    }
}

fn bound(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "any".to_owned(), |value| value.to_string())
}

fn names(names: &[Name]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

pub fn audit(entries: &[AuditEntry]) -> String {
    let row = |entry: &AuditEntry| {
        vec![
            number(entry.number),
            text(entry.time),
            text(entry.kind),
            optional(entry.user.as_ref()),
            optional(entry.from.as_ref()),
            text(&entry.operation),
            optional(Some(&entry.object).filter(|object| !object.is_empty())),
            optional(entry.status),
            text(entry.reason.as_deref().unwrap_or("")),
        ]
    };
    let headings = [">NUMBER", "TIME", "KIND", "USER", "FROM", "OPERATION", "OBJECT", "STATUS", "REASON"];
    table(&headings, entries.iter().map(row))
}

pub fn verification(found: &AuditVerification) -> String {
    properties(vec![
        ("Intact", text(super::yes_or_no(found.intact))),
        ("First", text(found.first)),
        ("Last", text(found.last)),
        ("Hash", text(&found.hash)),
    ])
}
