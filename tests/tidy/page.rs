//! The tables of ARCHITECTURE.md that say who may import whom.
//!
//! `| crate | may import |` has a row for each package of the workspace, and
//! ``| module of `x2i-core` | may import |`` one for each module at the root of that package's
//! library. Names stand in backticks; `nothing` allows nothing.

use std::collections::{BTreeMap, BTreeSet};

/// For each name the names that it may import.
pub type Allowed = BTreeMap<String, BTreeSet<String>>;

/// For each name what it does import, and where: `path:line: what is written`.
pub type Imports = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The packages whose modules have a table.
pub fn packages_with_modules(page: &str) -> Vec<String> {
    page.lines()
        .filter_map(|line| {
            let cells = cells(line)?;
            let package = cells.first()?.strip_prefix("module of ")?;
            Some(package.trim_matches('`').to_owned())
        })
        .collect()
}

/// The table with this head: `crate`, or ``module of `x2i-core` ``.
///
/// # Panics
/// Where the page has no such table, or a row can't be read.
pub fn table(page: &str, head: &str) -> Allowed {
    let mut lines = page.lines();
    let found = lines.any(|line| cells(line).is_some_and(|cells| cells == [head, "may import"]));
    assert!(
        found,
        "ARCHITECTURE.md has no table `| {head} | may import |`"
    );
    let mut allowed = Allowed::new();
    for line in lines.skip(1) {
        let Some(cells) = cells(line) else {
            break;
        };
        let [name, targets] = cells[..] else {
            panic!("ARCHITECTURE.md: a row has two cells: {line}");
        };
        let targets = match targets {
            "nothing" => BTreeSet::new(),
            names => names.split(", ").map(|name| unquoted(name, line)).collect(),
        };
        let twice = allowed.insert(unquoted(name, line), targets);
        assert!(twice.is_none(), "ARCHITECTURE.md: a second row: {line}");
    }
    allowed
}

/// Compares what is imported with what is allowed, in both directions.
pub fn breaches(allowed: &Allowed, imports: &Imports, members: &BTreeSet<String>) -> Vec<String> {
    let mut breaches = vec![];
    for name in members.iter().filter(|name| !allowed.contains_key(*name)) {
        breaches.push(format!("`{name}` has no row"));
    }
    for name in allowed.keys().filter(|name| !members.contains(*name)) {
        breaches.push(format!("`{name}` has a row and does not exist"));
    }
    let nothing = BTreeSet::new();
    for (from, targets) in imports {
        let may = allowed.get(from).unwrap_or(&nothing);
        for (to, places) in targets.iter().filter(|(to, _)| !may.contains(*to)) {
            let places = places.join("\n    ");
            breaches.push(format!("`{from}` may not import `{to}`\n    {places}"));
        }
    }
    for (from, targets) in allowed {
        let does = |to: &String| {
            imports
                .get(from)
                .is_some_and(|found| found.contains_key(to))
        };
        for to in targets.iter().filter(|to| !does(to)) {
            breaches.push(format!("`{from}` may import `{to}` and does not"));
        }
    }
    breaches
}

/// The cells of a table's line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inside.split('|').map(str::trim).collect())
}

fn unquoted(name: &str, line: &str) -> String {
    let inside = name
        .strip_prefix('`')
        .and_then(|name| name.strip_suffix('`'));
    inside
        .unwrap_or_else(|| panic!("ARCHITECTURE.md: `{name}` is no name in backticks: {line}"))
        .to_owned()
}
