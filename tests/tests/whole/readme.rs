//! The commands in the README.

use crate::command::repository;

#[test]
fn readme_commands_are_make_targets() {
    let read = |name: &str| std::fs::read_to_string(repository().join(name)).unwrap();
    let (readme, makefile, ci) = (read("README.md"), read("Makefile"), read(".ci/run"));
    for command in ["run", "test", "up"] {
        assert!(
            readme.contains(&format!("make {command}\n")),
            "the README has no line `make {command}`"
        );
        assert!(
            makefile.contains(&format!("\n{command}: ")),
            "the Makefile has no target {command}"
        );
    }
    assert!(ci.contains("make test") && ci.contains("make lint"), "{ci}");
}
