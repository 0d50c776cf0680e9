//! The fault catalogue of `docs/recovery.md` and the tests that it names: no row and no test may vanish.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

/// Each row's number and its cell of tests.
fn rows(page: &str) -> Vec<(&str, &str)> {
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number = cells.next()?;
        let digits = number.strip_prefix(['F', 'R'])?;
        digits.parse::<u32>().ok()?;
        Some((number, cells.last()?))
    });
    rows.collect()
}

#[test]
fn every_row_of_the_catalogue_has_a_test_of_its_number_and_every_test_it_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/recovery.md")).unwrap();
    let rows = rows(&page);
    let numbers: Vec<&str> = rows.iter().map(|(number, _)| *number).collect();
    let wanted = (1..=21).map(|n| format!("F{n}"));
    let wanted: Vec<String> = wanted.chain((1..=10).map(|n| format!("R{n}"))).collect();
    assert_eq!(numbers, wanted);
    for (number, tests) in rows {
        let own = format!("{}_", number.to_lowercase());
        let mut has_own = false;
        for test in tests.split('`').skip(1).step_by(2) {
            let (file, name) = test.split_once("::").unwrap();
            let source = fs::read_to_string(root.join(file)).expect(file);
            assert!(
                source.contains(&format!("#[test]\nfn {name}()")),
                "{number}: there is no test {name} in {file}"
            );
            has_own |= name.starts_with(&own);
        }
        assert!(has_own, "{number} has no test of its number");
    }
}
