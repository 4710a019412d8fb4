//! Metadata contexts (proto.md, "Metadata querying"): there is one, `base:allocation`.

/// The name of the only context.
pub const BASE_ALLOCATION: &str = "base:allocation";
/// The wildcard that lists what is in its namespace and selects nothing.
const BASE: &str = "base:";

/// Whether `LIST_META_CONTEXT` with these queries lists the context. No query at all lists everything.
pub fn lists(queries: &[&str]) -> bool {
    queries.is_empty() || queries.iter().any(|&query| query == BASE || query == BASE_ALLOCATION)
}

/// Whether `SET_META_CONTEXT` with these queries selects the context. No query selects nothing.
pub fn selects(queries: &[&str]) -> bool {
    queries.contains(&BASE_ALLOCATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_list_but_do_not_select() {
        let table: [(&[&str], bool, bool); 7] = [
            (&[], true, false),
            (&["base:"], true, false),
            (&["base:allocation"], true, true),
            (&["base:other"], false, false),
            (&["qemu:dirty-bitmap:x", "base:allocation"], true, true),
            (&["nonsense"], false, false),
            (&["base:allocation2", "base"], false, false),
        ];
        for (queries, listed, selected) in table {
            assert_eq!((lists(queries), selects(queries)), (listed, selected), "{queries:?}");
        }
    }
}
