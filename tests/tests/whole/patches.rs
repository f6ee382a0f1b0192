//! The faults that `make faults` plants: after a change of the code each must still apply.

use std::{fs, path::Path, process::Command};

#[test]
fn patches_apply_to_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut patches = 0;
    for folder in ["tests/planted", "tests/mutations"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let mut check = Command::new("git");
            check.args(["apply", "--check", "-p1"]).arg(&path).current_dir(root);
            let output = check.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} does not apply: {said}", path.display());
            patches += 1;
        }
    }
    assert!(patches >= 7, "{patches} patches");
}
